"""A config for which something can't be had: nothing of what was opened for it stays."""

from __future__ import annotations

import errno
import json
import os
import socket
from pathlib import Path

import pytest

from fastproxy.config.load import load
from fastproxy.policy.pattern import parse_pattern
from fastproxy.supervisor.inboxes import Inboxes
from fastproxy.supervisor.terms import close_new, terms_for
from tests.e2e.proxies import endpoint_of, in_config, key_of, merged, reserved_port, write_key


def descriptors() -> set[str]:
    """Numbers of all that are open."""
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    "last", ["fastproxy.supervisor.terms.handover.put", "fastproxy.supervisor.terms.ledger_for"]
)
def test_when_descriptors_run_out_all_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    def no_descriptor(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    write_key(tmp_path, "in")
    file = tmp_path / "in.yaml"
    inboxes = Inboxes()
    with reserved_port() as port, reserved_port() as other:

        def config(at: int) -> None:
            listen = {"listen": {"address": f"127.0.0.1:{at}"}, "workers": 2}
            file.write_text(
                json.dumps(merged(in_config({"api": ["127.0.0.1:1"]}, {"web": key_of("web")}), listen))
            )

        config(port)
        former = terms_for(load(str(file), check_pattern=parse_pattern), inboxes, None, None)
        before = descriptors()
        config(other)
        snapshot = load(str(file), check_pattern=parse_pattern)
        with monkeypatch.context() as patch:
            patch.setattr(last, no_descriptor)
            with pytest.raises(OSError, match="Too many open files"):
                terms_for(snapshot, inboxes, former.listeners, None)
        assert descriptors() == before
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", other))
        assert former.listeners.name == endpoint_of(("127.0.0.1", port))
        with socket.create_connection(("127.0.0.1", port)):
            pass
        new = terms_for(snapshot, inboxes, former.listeners, former.ledger)
        assert (new.listeners is former.listeners, new.ledger is former.ledger) == (False, True)
        close_new(new, former)
        assert descriptors() == before
        os.close(former.snapshot_fd)
        former.listeners.close()
    for sock in (*inboxes.giving, *inboxes.share(0, 1)):
        sock.close()
