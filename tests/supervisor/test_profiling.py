"""What becomes of a profile as workers answer, refuse, end, or say nothing: by workers that are played."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from fastproxy.admin.answers import AdminError
from fastproxy.admin.profiles import KINDS
from fastproxy.control.channel import ChannelError, GoneError
from fastproxy.control.messages import PROFILE, Take, decode
from fastproxy.supervisor import profiling
from fastproxy.supervisor.errands import ErrandError, Errands
from fastproxy.supervisor.process import WorkerProcess
from fastproxy.supervisor.profiling import ProxyProfiles
from fastproxy.telemetry.profiling.memory import RECORD_LIMIT_BYTES
from fastproxy.telemetry.profiling.render import COMMAND, Order

CPU, HEAP = KINDS["/debug/pprof/profile"], KINDS["/debug/pprof/heap"]
SEEN = msgspec.msgpack.encode("seen")

Reply = Callable[[Take], Coroutine[Any, Any, bytes]]


async def sees(take: Take) -> bytes:
    if take.file:
        Path(take.file).write_bytes(SEEN)  # noqa: ASYNC240 - small
        return b""
    return SEEN


async def refuses(take: Take) -> bytes:
    raise ChannelError("memray is missing")


async def ends(take: Take) -> bytes:
    raise GoneError("the process is gone")


async def hangs(take: Take) -> bytes:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


class Player:
    """A worker that answers as it is told to; remembers what it was asked, and whether that was dropped."""

    def __init__(self, number: int, reply: Reply, *, is_ready: bool = True, is_leaving: bool = False) -> None:
        self.number = number
        self.is_ready = is_ready
        self.is_leaving = is_leaving
        self.asked: Take | None = None
        self.was_dropped = False
        self._reply = reply

    async def ask(self, topic: str, content: bytes) -> bytes:
        assert topic == PROFILE
        self.asked = decode(content, Take)
        try:
            return await self._reply(self.asked)
        except asyncio.CancelledError:
            self.was_dropped = True
            raise


class Maker:
    """Makes no files; remembers its orders, and which recordings there were."""

    def __init__(self, complaint: str = "") -> None:
        self.order = Order("")
        self.recorded: set[str] = set()
        self._complaint = complaint

    async def run(self, command: Sequence[str], given: bytes, timeout_s: float) -> bytes:
        assert command == COMMAND
        assert timeout_s > 0
        self.order = msgspec.msgpack.decode(given, type=Order)
        recordings = self.order.recordings.items()
        self.recorded = {name for name, file in recordings if os.path.exists(file)}  # noqa: ASYNC240 - as above
        if self._complaint:
            raise ErrandError(self._complaint)
        return b"a file"


def take(players: list[Player], maker: Maker, kind: Any = CPU, seconds: float = 0.01) -> bytes:
    profiles = ProxyProfiles(lambda: cast("list[WorkerProcess]", players), cast("Errands", maker))
    return asyncio.run(profiles.take(kind, seconds, "pprof"))


def test_all_ready_workers_that_stay_are_asked_and_what_they_answer_goes_on() -> None:
    players = [
        Player(0, sees), Player(4, sees), Player(5, sees, is_ready=False), Player(6, sees, is_leaving=True),
    ]  # fmt: skip
    maker = Maker()
    assert take(players, maker) == b"a file"
    assert [player.asked for player in players] == [Take("cpu", 0.01), Take("cpu", 0.01), None, None]
    assert {name: bytes(raw) for name, raw in maker.order.profiles.items()} == {
        "worker 0": SEEN, "worker 4": SEEN,
    }  # fmt: skip
    assert (maker.order.form, maker.order.recordings, maker.order.comments) == ("pprof", {}, [])


def test_recordings_share_a_limit_and_a_folder_that_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    players, maker = [Player(number, sees) for number in range(3)] + [Player(3, ends)], Maker()
    take(players, maker, HEAP)
    files = {player.asked.file for player in players if player.asked is not None}
    assert len(files) == 4
    assert {player.asked and player.asked.limit_bytes for player in players} == {RECORD_LIMIT_BYTES // 4}
    assert set(maker.order.recordings) == maker.recorded == {"worker 0", "worker 1", "worker 2"}
    assert (maker.order.kind, maker.order.profiles) == ("heap", {})
    assert not list(tmp_path.iterdir())


def test_those_without_an_answer_are_missing_and_it_is_said_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "_PATIENCE_S", 0.01)
    silent = Player(3, hangs)
    maker = Maker()
    take([Player(0, sees), Player(1, ends), Player(2, refuses), silent], maker)
    assert list(maker.order.profiles) == ["worker 0"]
    assert maker.order.comments == [
        "worker 1 is missing: the process is gone",
        "worker 2 is missing: memray is missing",
        "worker 3 is missing: it does not answer",
    ]
    assert silent.was_dropped


@pytest.mark.parametrize(
    ("replies", "status", "words"),
    [
        ([], 503, "no worker is ready"),
        ([ends, ends], 503, "every worker has ended"),
        ([refuses, refuses], 501, "memray is missing"),
        ([ends, refuses], 501, "memray is missing"),
    ],
)
def test_where_none_has_an_answer_it_is_said_why(replies: list[Reply], status: int, words: str) -> None:
    with pytest.raises(AdminError, match=words) as caught:
        take([Player(number, reply) for number, reply in enumerate(replies)], Maker())
    assert caught.value.status == status


def test_without_room_for_recordings_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    player = Player(0, sees)
    with pytest.raises(AdminError, match="TMPDIR") as caught:
        take([player], Maker(), HEAP)
    assert (caught.value.status, player.asked) == (501, None)


def test_a_file_that_can_not_be_made_is_told_of() -> None:
    with pytest.raises(AdminError, match="could not be made into a file: why") as caught:
        take([Player(0, sees)], Maker("why"))
    assert caught.value.status == 500


def test_giving_up_drops_all_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    players = [Player(0, hangs), Player(1, hangs)]

    async def main() -> None:
        profiles = ProxyProfiles(lambda: cast("list[WorkerProcess]", players), cast("Errands", Maker()))
        task = asyncio.create_task(profiles.take(HEAP, 60, "pprof"))
        while not all(player.asked for player in players):  # noqa: ASYNC110 - two turns of the loop
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [player.was_dropped for player in players] == [True, True]
    assert not list(tmp_path.iterdir())
