"""Lines go out whole and in order or count as dropped, those of a turn together; nobody is waited for."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import pty
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.telemetry import output as output_module
from fastproxy.telemetry.output import LineOutput, Sink
from tests.telemetry.turns import PlayedLoop

HELD_BYTES = 65_536
LINE = b"x" * 1023 + b"\n"
NOTICE = re.compile(rb'\{"level":"warning","message":"log lines were dropped","dropped":(\d+)\}\n')


class Way:
    """What a test writes to, and reads from without waiting."""

    def __init__(self, reading: int, writing: int) -> None:
        self.reading, self.writing = reading, writing
        os.set_blocking(reading, False)

    def read(self, most_bytes: int = 1 << 20) -> bytes:
        """What is there, and no more than that."""
        read = b""
        while len(read) < most_bytes:
            try:
                piece = os.read(self.reading, most_bytes - len(read))
            except BlockingIOError:
                break
            if not piece:
                break
            read += piece
        return read


KINDS = ("pipe", "named pipe", "socket", "terminal", "file")


def way_of(kind: str, folder: Path, stack: ExitStack) -> Way:
    if kind == "pipe":
        reading, writing = os.pipe()
    elif kind == "named pipe":  # no kernel can be asked not to wait: it is polled
        os.mkfifo(folder / "pipe")
        reading = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        writing = os.open(folder / "pipe", os.O_WRONLY)
    elif kind == "socket":
        ends = socket.socketpair()
        reading, writing = (end.detach() for end in ends)
    elif kind == "terminal":
        reading, writing = pty.openpty()
    else:
        writing = os.open(folder / "file", os.O_WRONLY | os.O_CREAT)
        reading = os.open(folder / "file", os.O_RDONLY)
    stack.callback(os.close, reading)
    stack.callback(os.close, writing)
    return Way(reading, writing)


@pytest.fixture(params=KINDS)
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    with ExitStack() as stack:
        yield way_of(request.param, tmp_path, stack)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Way]:
    with ExitStack() as stack:
        yield way_of("pipe", tmp_path, stack)


@pytest.fixture
def loop() -> PlayedLoop:
    return PlayedLoop()


def told(dropped: int) -> bytes:
    return b'{"level":"warning","message":"log lines were dropped","dropped":%d}\n' % dropped


# --- when lines leave -----------------------------------------------------------------------------------


def test_the_lines_of_a_turn_leave_in_one_write_at_its_end(loop: PlayedLoop) -> None:
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ends[0] as reading, ends[1] as writing:
        reading.setblocking(False)
        output = loop.gathers(LineOutput(writing.fileno()))
        for turn in (b"1", b"2"):
            for line in (b"a", b"b", b"c"):
                output.hold(turn + line + b"\n")
            with pytest.raises(BlockingIOError):
                reading.recv(1000)
            loop.end_turn()
            assert reading.recv(1000) == b"".join(turn + line + b"\n" for line in (b"a", b"b", b"c"))


def test_what_fills_the_room_leaves_before_the_turn_is_over(pipe: Way, loop: PlayedLoop) -> None:
    output = loop.gathers(LineOutput(pipe.writing))
    for _ in range(HELD_BYTES // len(LINE)):
        output.hold(LINE)
    assert pipe.read() == b""
    output.hold(b"one more\n")
    assert pipe.read() == LINE * (HELD_BYTES // len(LINE))
    loop.end_turn()
    assert pipe.read() == b"one more\n"
    assert output.dropped == 0


def test_what_is_written_at_once_comes_behind_what_is_held(pipe: Way, loop: PlayedLoop) -> None:
    output = loop.gathers(LineOutput(pipe.writing))
    output.hold(b"held\n")
    output.write(b"at once\n")
    assert pipe.read() == b"held\nat once\n"
    loop.end_turn()
    assert pipe.read() == b""


def test_without_a_loop_each_line_is_written_at_once(pipe: Way) -> None:
    output = LineOutput(pipe.writing)
    output.hold(b"one\n")
    assert pipe.read() == b"one\n"


def test_when_it_is_settled_nothing_is_held_any_more(pipe: Way, loop: PlayedLoop) -> None:
    output = loop.gathers(LineOutput(pipe.writing))
    output.hold(b"held\n")
    output.settle()
    assert pipe.read() == b"held\n"
    output.hold(b"late\n")
    assert pipe.read() == b"late\n"


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_a_turn_that_crashes_has_held_is_written(
    make_loop: Callable[[], asyncio.AbstractEventLoop], pipe: Way
) -> None:
    def turn(output: LineOutput) -> None:
        output.hold(b"the last one\n")
        raise SystemExit

    async def main() -> None:
        loop = asyncio.get_running_loop()
        output = LineOutput(pipe.writing)
        output.gather(loop)
        loop.call_soon(turn, output)
        await asyncio.Event().wait()

    with pytest.raises(SystemExit), asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(main())
    assert pipe.read() == b"the last one\n"


def test_another_threads_line_is_written_in_the_loops_thread(pipe: Way, loop: PlayedLoop) -> None:
    output = loop.gathers(LineOutput(pipe.writing))
    output.hold(b"held\n")
    thread = threading.Thread(target=output.write, args=(b"from elsewhere\n",))
    thread.start()
    thread.join()
    assert pipe.read() == b""
    loop.end_turn()
    assert pipe.read() == b"held\nfrom elsewhere\n"


def test_a_line_that_comes_up_while_others_are_written_is_not_lost(
    pipe: Way, loop: PlayedLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when what the collector finds, or a signal's handler, has something to log."""
    output = loop.gathers(LineOutput(pipe.writing))
    take = Sink.take

    def interrupted(sink: Sink, data: bytes) -> int:
        monkeypatch.setattr(Sink, "take", take)
        output.write(b"came up\n")
        return sink.take(data)

    monkeypatch.setattr(Sink, "take", interrupted)
    output.hold(b"held\n")
    loop.end_turn()
    assert pipe.read() == b"held\ncame up\n"


def test_where_it_leads(pipe: Way, tmp_path: Path) -> None:
    again = os.dup(pipe.writing)
    output = LineOutput(pipe.writing)
    assert output.leads_where(again)
    with (tmp_path / "other").open("wb") as other:
        assert not output.leads_where(other.fileno())
    os.close(again)


# --- who doesn't read -----------------------------------------------------------------------------------


def fill(output: LineOutput) -> int:
    """Write until nothing is taken or held any more; return how many lines were."""
    taken = 0
    while not output.dropped:
        output.write(LINE)
        taken += 1
    return taken - 1


def test_nothing_waits_for_a_reader(way: Way) -> None:
    sink = Sink(way.writing)
    is_file = os.path.isfile(f"/proc/self/fd/{way.writing}")
    written = 0
    while (size := sink.take(LINE * 64)) and written < 1 << 22:
        written += size
    assert (size > 0) == is_file  # which alone has no end
    assert len(way.read(written)) >= min(written, 4096)
    assert sink.can_take()
    assert sink.take(b"after\n") == 6


def test_who_falls_behind_gets_all_of_it_in_order_and_is_told_what_is_missing(
    pipe: Way, loop: PlayedLoop
) -> None:
    output = loop.gathers(LineOutput(pipe.writing))
    taken = fill(output)
    in_pipe = fcntl.fcntl(pipe.writing, fcntl.F_GETPIPE_SZ)
    assert HELD_BYTES - len(LINE) < taken * len(LINE) - in_pipe <= HELD_BYTES
    output.hold(b"missing too\n")
    assert output.dropped == 2
    assert pipe.read() == LINE * (in_pipe // len(LINE))
    loop.end_turn()
    assert pipe.read() == b"", "a reader who took nothing is left alone for a while"
    loop.pass_time()
    read = pipe.read()
    loop.pass_time()  # the held lines may have filled the pipe
    assert read + pipe.read() == LINE * (taken - in_pipe // len(LINE)) + told(2)
    output.hold(b"after\n")
    loop.end_turn()
    assert pipe.read() == b"after\n"
    assert output.dropped == 2


def test_a_line_larger_than_all_there_is_room_for_arrives_in_parts(pipe: Way, loop: PlayedLoop) -> None:
    output = loop.gathers(LineOutput(pipe.writing))
    line = b"x" * 300_000 + b"\n"
    output.hold(line)
    loop.end_turn()
    output.hold(b"no room for\n")
    read = b""
    while piece := pipe.read():
        read += piece
        loop.pass_time()
    assert read == line + told(1)


def test_the_last_lines_wait_for_a_slow_reader(
    pipe: Way, loop: PlayedLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_module, "_PATIENCE_S", 60.0)  # however busy this machine
    output = loop.gathers(LineOutput(pipe.writing))
    taken = fill(output)
    os.set_blocking(pipe.reading, True)
    wanted_bytes = taken * len(LINE)
    read: list[bytes] = []

    def read_all() -> None:
        while sum(map(len, read)) < wanted_bytes:
            read.append(os.read(pipe.reading, 4096))

    thread = threading.Thread(target=read_all)
    thread.start()
    output.settle()
    thread.join()
    assert b"".join(read)[:wanted_bytes] == LINE * taken


def test_the_last_lines_wait_for_no_reader_for_long(pipe: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_module, "_PATIENCE_S", 0.001)
    output = LineOutput(pipe.writing)
    fill(output)
    output.settle()


@pytest.mark.parametrize("kind", ["pipe", "named pipe"])
def test_whatever_happens_each_line_is_there_whole_or_counted(
    kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    steps = st.one_of(
        st.tuples(st.sampled_from(["hold", "write"]), st.integers(10, 9_000)),
        st.tuples(st.just("read"), st.integers(1, 40_000)),
        st.tuples(st.sampled_from(["end_turn", "pass_time"]), st.just(0)),
    )

    @settings(max_examples=60)
    @given(st.lists(steps, max_size=80))
    def check(taken: list[tuple[str, int]]) -> None:
        with ExitStack() as stack:
            way = way_of(kind, tmp_path_factory.mktemp("way"), stack)
            fcntl.fcntl(way.writing, fcntl.F_SETPIPE_SZ, 8192)
            loop = PlayedLoop()
            output = loop.gathers(LineOutput(way.writing))
            read, number = b"", 0
            for step, size in taken:
                if step == "read":
                    read += way.read(size)
                elif step in ("hold", "write"):
                    getattr(output, step)(b"%d" % number + b"x" * size + b"\n")
                    number += 1
                else:
                    getattr(loop, step)()
            for _ in range(20):  # enough for all that can be held
                output.flush()
                read += way.read()
            assert numbers(read) == list(range(number))
            assert output.dropped == sum(int(notice) for notice in NOTICE.findall(read))

    check()


def numbers(read: bytes) -> list[int]:
    """The numbers of the lines, those that are told to be missing among them."""
    found: list[int] = []
    for line in read.splitlines(keepends=True):
        if notice := NOTICE.fullmatch(line):
            found.extend(range(len(found), len(found) + int(notice[1])))
        else:
            whole = re.fullmatch(rb"(\d+)x+\n", line)
            assert whole, line
            found.append(int(whole[1]))
    return found


# --- errors ---------------------------------------------------------------------------------------------


def test_a_reader_that_went_away() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    output = LineOutput(writing)
    output.write(b"line\n")
    assert output.dropped == 1
    os.close(writing)


def test_a_line_cut_by_an_error_spoils_no_other(tmp_path: Path, loop: PlayedLoop) -> None:
    with ExitStack() as stack:
        way = way_of("named pipe", tmp_path, stack)
        output = loop.gathers(LineOutput(way.writing))
        output.write(b"x" * 300_000 + b"\n")
        output.hold(b"no room for\n")
        way.read()
        nobody_reads = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nobody_reads, way.reading)
        loop.pass_time()
        assert output.dropped == 2
        os.close(nobody_reads)
        again = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        os.dup2(again, way.reading)
        os.close(again)
        output.write(b"after\n")
        assert way.read() == b"\n" + told(2) + b"after\n"


def test_a_full_disk(loop: PlayedLoop) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        os.write(full, b"x")
    output = loop.gathers(LineOutput(full))
    for dropped in (1, 2):
        output.write(b"line\n")
        assert output.dropped == dropped
    for _ in range(3):
        output.hold(b"line\n")
    loop.end_turn()
    assert output.dropped == 5
    os.close(full)
