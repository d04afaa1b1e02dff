"""Sessions with a receiver whose keys come and go."""

from __future__ import annotations

import os

import pytest

from fastproxy.errors import RECEIVER_KEY_ENDED, ProxyError
from fastproxy.proxy.receiver_sessions import ReceiverIdentity, ReceiverSessions
from fastproxy.wire.ciphers import CIPHERS
from fastproxy.wire.identity import PrivateKey

OLD, NEW = (PrivateKey(name * 32).public_key for name in (b"o", b"n"))


def test_nothing_is_sealed_for_a_key_that_has_ended_since_it_was_chosen() -> None:
    """As by a request that waited for a connection when the date came."""
    known = [OLD, NEW]
    receiver = ReceiverIdentity("in", lambda: known, None)
    cipher = next(iter(CIPHERS.values()))
    sessions = ReceiverSessions({"web": PrivateKey(b"w" * 32)}.__getitem__, receiver, cipher, os.urandom)
    before = sessions.take("web", OLD, 0.0)
    assert sessions.take("web", OLD, 1.0) is before
    known.remove(OLD)
    sessions.forget_ended()
    with pytest.raises(ProxyError) as caught:
        sessions.take("web", OLD, 2.0)
    assert caught.value.cause is RECEIVER_KEY_ENDED
    assert sessions.find("web", OLD) is None
    assert sessions.take("web", NEW, 2.0) is not before
