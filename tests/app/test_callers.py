"""The callers of an in proxy while it runs, as far as it doesn't take a running proxy to see it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from fastproxy.app.callers import KnownCallers
from fastproxy.app.key_dates import KeyDates
from fastproxy.config.callers_dir import CallersReader, FolderCallers
from fastproxy.config.key_dates import shown_date
from fastproxy.config.load import load
from fastproxy.config.snapshot import InSnapshot, Peer
from fastproxy.policy.pattern import parse_pattern
from fastproxy.telemetry.metrics import Metrics
from fastproxy.wire.identity import PrivateKey

NOW_S = 1_800_000_000.0
TIMEOUT_S = 30.0


def load_config(folder: Path) -> InSnapshot:
    """An in proxy that knows `web` by a key that has 100 s left, from its folder of callers."""
    (folder / "in.key").touch(mode=0o600)
    (folder / "in.key").write_text(PrivateKey(b"i" * 32).reveal())
    (folder / "callers").mkdir()
    key = PrivateKey(b"w" * 32).public_key.hex()
    (folder / "callers" / "web.pub").write_text(f"{key} not_after {shown_date(NOW_S + 100)}\n")
    config = {
        "role": "in",
        "listen": {"address": f"unix:{folder}/in"},
        "private_key": {"file": "in.key"},
        "callers_dir": "callers",
        "services": {"api": {"endpoints": ["127.0.0.1:1"]}},
        "privileges": [{"callers": ["web"], "services": ["api"]}],
    }
    (folder / "in.yaml").write_text(json.dumps(config))
    snapshot = load(folder / "in.yaml", check_pattern=parse_pattern, clock=lambda: NOW_S)
    assert isinstance(snapshot, InSnapshot)
    return snapshot


def test_a_key_ends_while_the_folder_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = NOW_S
    known = KnownCallers(load_config(tmp_path), KeyDates("caller", Metrics("in", "1", [], []), lambda: now_s))
    answers = threading.Event()
    read = CallersReader.read

    def read_in_the_end(reader: CallersReader, now_unix_ns: int) -> FolderCallers:
        assert answers.wait(TIMEOUT_S)
        return read(reader, now_unix_ns)

    monkeypatch.setattr(CallersReader, "read", read_in_the_end)

    async def main() -> None:
        nonlocal now_s
        taken: asyncio.Queue[Sequence[Peer]] = asyncio.Queue()
        known.on_change(taken.put)
        look = asyncio.create_task(known.look())
        now_s = NOW_S + 101
        async with asyncio.timeout(TIMEOUT_S):
            (web,) = await taken.get()
        assert (web.name, web.public_keys) == ("web", ())
        answers.set()
        await look
        assert taken.empty()

    try:
        asyncio.run(main())
    finally:
        answers.set()
