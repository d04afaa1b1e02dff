"""An envelope that is refused although its sender is proven leaves the garbage collector nothing."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

from fastproxy.net.connection import Connection
from fastproxy.wire.envelope import (
    UNKNOWN_EPOCH,
    Challenge,
    Refusal,
    ResponseHead,
    build_request_head,
    parse_response_head,
    service_field,
)
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.sender import SenderSession
from fastproxy.wire.sessions import Session
from tests.net.kit import Wire
from tests.proxy.stage import Stage

HEAD = b"POST /fastproxy/v2 HTTP/1.1\r\nHost: in\r\nContent-Length: %d\r\n\r\n"
LIFETIME_MS = 30_000


def key(folder: Path, name: str) -> PrivateKey:
    return PrivateKey(bytes.fromhex((folder / f"{name}.key").read_text()))


def ask(stage: Stage, session: SenderSession, epoch: bytes, http: bytes) -> ResponseHead:
    """Send an envelope on a connection of its own, which then closes; return what the in proxy says."""
    meta = build_request_head(5000, "crafted", service_field("search_service"), http)
    sealer = session.seal(epoch, int(time.time() * 1000) + LIFETIME_MS)
    message = sealer.record(meta, b"", last=True)
    wire = Wire(Connection(stage.inner.server))
    wire.receive(HEAD % len(message) + message)
    answer = wire.take().partition(b"\r\n\r\n")[2]
    wire.lose()
    return parse_response_head(sealer.opener().feed(answer)[0])


def test_neither_a_challenge_nor_a_refusal_leaves_cycles(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    session = SenderSession(
        key(tmp_path, "caller"),
        "receiver",
        key(tmp_path, "receiver").public_key,
        os.urandom(32),
        good_until_s=0.0,
    )
    challenge = ask(stage, session, UNKNOWN_EPOCH, b"")
    assert isinstance(challenge, Challenge)
    ask(stage, session, challenge.epoch, b"")  # which makes the session known
    for epoch, http, kind in (
        (UNKNOWN_EPOCH, b"", Challenge),
        (challenge.epoch, b"no head at all", Refusal),
        (challenge.epoch, b"POST /nowhere HTTP/1.1\r\nhost: x\r\n\r\n", Refusal),
    ):
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            assert isinstance(ask(stage, session, epoch, http), kind)
            gc.collect()
            # Other tests may leave something of theirs meanwhile.
            assert [left for left in gc.garbage if isinstance(left, Connection | Session)] == [], http
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
