"""Changes reach the file in batches; a full disk loses none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from fastproxy.admin.center.names import Key
from fastproxy.admin.center.registry import Bounds, Registered, Registry
from fastproxy.admin.center.store import Store, StoreError
from fastproxy.admin.center.writer import StoreWriter

SONG = Key("services", "song")


def at(number: int, key: Key = SONG) -> Registered:
    return Registered(key, f"192.0.2.{number}:80", 15.0, "o")


class Watched(Store):
    """A real file whose batches are seen, and which can refuse to be written."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.batches: list[dict[Key, Sequence[Registered]]] = []
        self.tries: asyncio.Queue[bool] = asyncio.Queue()
        self.is_full = False
        self._loop = asyncio.get_running_loop()

    def write(self, batch: Mapping[Key, Sequence[Registered]], *, replaces_all: bool = False) -> None:
        try:
            if self.is_full:
                raise StoreError("center.db", "it can't be used: disk full", "check disk")
            super().write(batch, replaces_all=replaces_all)
            self.batches.append(dict(batch))
        finally:
            self._loop.call_soon_threadsafe(self.tries.put_nowait, not self.is_full)


def play(path: Path, steps: Callable[[Watched, Registry, StoreWriter], Awaitable[None]]) -> Watched:
    async def played() -> Watched:
        store = Watched(str(path / "center.db"))
        registry = Registry(Bounds(), first_version=store.first_version, now_s=0.0)
        writer = StoreWriter(store, registry, pause_s=0.001)
        writer.start()
        await steps(store, registry, writer)
        await writer.close()
        return store

    return asyncio.run(played())


def kept(path: Path) -> tuple[Registered, ...]:
    store = Store(str(path / "center.db"))
    store.close()
    return store.restored


def test_what_comes_together_is_written_together_and_heartbeats_are_not(tmp_path: Path) -> None:
    async def steps(store: Watched, registry: Registry, writer: StoreWriter) -> None:
        for number in range(1, 20):
            registry.register(at(number), 0.0)
        assert await store.tries.get()
        for number in range(1, 20):
            registry.register(at(number), 5.0)

    store = play(tmp_path, steps)
    assert len(kept(tmp_path)) == 19
    assert [len(batch[SONG]) for batch in store.batches if batch] == [19]


def test_closing_writes_what_is_left(tmp_path: Path) -> None:
    async def steps(store: Watched, registry: Registry, writer: StoreWriter) -> None:
        registry.register(at(1), 0.0)
        registry.register(at(2), 0.0)
        registry.deregister(SONG, at(1).address)

    play(tmp_path, steps)
    assert kept(tmp_path) == (at(2),)


def test_a_full_disk_loses_nothing_and_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def steps(store: Watched, registry: Registry, writer: StoreWriter) -> None:
        store.is_full = True
        registry.register(at(1), 0.0)
        assert [await store.tries.get() for _ in range(3)] == [False, False, False]
        registry.register(at(2), 0.0)
        store.is_full = False
        while not await store.tries.get():
            pass  # one may have been under way

    with caplog.at_level(logging.INFO, "fastproxy.center"):
        play(tmp_path, steps)
    assert kept(tmp_path) == (at(1), at(2))
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_more_changes_than_are_noted_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastproxy.admin.center.writer._MOST_NOTED", 5)
    keys = [Key("services", f"n{number}") for number in range(30)]

    async def steps(store: Watched, registry: Registry, writer: StoreWriter) -> None:
        for key in keys:
            registry.register(at(1, key), 0.0)
        assert await store.tries.get()
        for key in keys[:20]:
            registry.deregister(key, at(1, key).address)

    play(tmp_path, steps)
    assert {registered.key for registered in kept(tmp_path)} == set(keys[20:])
