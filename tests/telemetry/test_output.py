"""Lines go out whole or are dropped and counted; nobody is waited for."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.telemetry.output import LineOutput


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The ends to read from and to write to."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def told(dropped: int) -> bytes:
    return b'{"level":"warning","message":"log lines were dropped","dropped":%d}\n' % dropped


def test_a_pipe_that_nobody_empties_drops_lines_and_tells_how_many_later(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    output = LineOutput(writing)
    line = b"x" * 1023 + b"\n"
    written = 0
    while output.write(line):
        written += 1
    assert written > 10
    assert not output.write(line)
    assert output.dropped == 2
    assert os.read(reading, written * 2048) == line * written
    assert output.write(b"after\n")
    assert output.write(b"later\n")
    assert os.read(reading, 1000) == told(2) + b"after\nlater\n"
    assert output.dropped == 2


def test_a_line_larger_than_the_pipe_is_cut_and_spoils_no_other(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    output = LineOutput(writing)
    assert not output.write(b"x" * 1_000_000 + b"\n")
    assert not output.write(b"while full\n")
    cut = os.read(reading, 1_000_000)
    assert cut.strip(b"x") == b""
    assert output.write(b"after\n")
    assert os.read(reading, 1000) == b"\n" + told(2) + b"after\n"


def test_a_reader_that_went_away() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    output = LineOutput(writing)
    assert not output.write(b"line\n")
    assert output.dropped == 1
    os.close(writing)


def test_a_full_disk() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        os.write(full, b"x")
    output = LineOutput(full)
    assert [output.write(b"line\n") for _ in range(3)] == [False] * 3
    assert output.dropped == 3
    os.close(full)


def test_long_lines_arrive_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    line = os.urandom(100_000)
    with path.open("wb") as file:
        assert LineOutput(file.fileno()).write(line)
    assert path.read_bytes() == line
