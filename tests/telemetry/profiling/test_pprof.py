"""pprof's format: its bytes by the numbers that are published, and back again."""

from __future__ import annotations

import gzip
from collections import defaultdict
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.telemetry.profiling import pprof
from fastproxy.telemetry.profiling.pprof import PprofError
from fastproxy.telemetry.profiling.profile import Frame, Profile, Sample, ValueType

LIMIT_BYTES = 2**24
CPU = ValueType("cpu", "nanoseconds")
PROFILE = Profile(
    types=[ValueType("samples", "count"), CPU],
    shown=1,
    period_type=CPU,
    period=10_000_000,
    started_unix_ns=1_700_000_000_000_000_001,
    duration_ns=2_000_000_000,
    frames=[Frame("a.inner", "/a.py", 7, 5), Frame("a.outer", "/a.py", 12, 10), Frame("(task)")],
    samples=[Sample([0, 1, 2], [3, 30]), Sample([1, 2], [1, 10], "worker 1")],
    comments=["a remark"],
)

Fields = dict[int, list[int | bytes]]


def fields(data: bytes) -> Fields:
    """Take a protobuf message apart into its fields by number: a reader that knows nothing of messages."""
    found: Fields = defaultdict(list)
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(data):
        tag = varint()
        if tag & 7 == 0:
            found[tag >> 3].append(varint())
        else:
            assert tag & 7 == 2
            length = varint()
            found[tag >> 3].append(data[place : place + length])
            place += length
    return found


def parts(message: Fields, number: int) -> list[Fields]:
    return [fields(part) for part in message[number] if isinstance(part, bytes)]


def one(message: Fields, number: int) -> int:
    (value,) = message[number] or [0]
    assert isinstance(value, int)
    return value


def test_the_bytes_are_those_of_the_published_messages() -> None:
    message = fields(gzip.decompress(pprof.write(PROFILE)))
    strings = [text.decode() for text in message[6] if isinstance(text, bytes)]
    assert strings[0] == ""
    types = [(strings[one(kind, 1)], strings[one(kind, 2)]) for kind in parts(message, 1)]
    assert types == [("samples", "count"), ("cpu", "nanoseconds")]
    functions = {one(function, 1): function for function in parts(message, 5)}
    assert {(strings[one(f, 2)], strings[one(f, 4)], one(f, 5)) for f in functions.values()} == {
        ("a.inner", "/a.py", 5), ("a.outer", "/a.py", 10), ("(task)", "", 0),
    }  # fmt: skip
    named = {}
    for location in parts(message, 4):
        (line,) = parts(location, 4)
        named[one(location, 1)] = (strings[one(functions[one(line, 1)], 2)], one(line, 2))
        assert one(location, 2) == 1
    samples = [(list(s[1][0]), list(s[2][0])) for s in parts(message, 2)]  # type: ignore[arg-type] # packed
    assert [[named[place] for place in stack] for stack, _ in samples] == [
        [("a.inner", 7), ("a.outer", 12), ("(task)", 0)], [("a.outer", 12), ("(task)", 0)],
    ]  # fmt: skip
    assert [values for _, values in samples] == [[3, 30], [1, 10]]
    labels = [[(strings[one(x, 1)], strings[one(x, 2)]) for x in parts(s, 3)] for s in parts(message, 2)]
    assert labels == [[], [("worker", "worker 1")]]
    (mapping,) = parts(message, 3)
    assert (one(mapping, 1), one(mapping, 7), one(mapping, 8), one(mapping, 9)) == (1, 1, 1, 1)
    assert one(message, 9) == PROFILE.started_unix_ns
    assert one(message, 10) == PROFILE.duration_ns
    (period_type,) = parts(message, 11)
    assert (strings[one(period_type, 1)], one(message, 12)) == ("cpu", 10_000_000)
    assert [[strings[place] for place in packed] for packed in message[13]] == [["a remark"]]  # type: ignore[union-attr]
    assert strings[one(message, 14)] == "cpu"


def test_what_was_written_is_read_back() -> None:
    assert pprof.read(pprof.write(PROFILE), LIMIT_BYTES) == PROFILE


def test_a_profile_of_nothing_is_a_profile() -> None:
    empty = Profile(PROFILE.types, 1, CPU, 1, 1, 1, [], [])
    assert pprof.read(pprof.write(empty), LIMIT_BYTES) == empty


@given(st.binary(max_size=200), st.booleans())
def test_anything_is_a_profile_or_refused(data: bytes, is_packed: bool) -> None:
    with suppress(PprofError):
        pprof.read(gzip.compress(data) if is_packed else data, LIMIT_BYTES)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_profile_is_read_or_refused(place: int, byte: int) -> None:
    unpacked = bytearray(gzip.decompress(pprof.write(PROFILE)))
    unpacked[place % len(unpacked)] = byte
    with suppress(PprofError):
        pprof.read(gzip.compress(unpacked), LIMIT_BYTES)


@pytest.mark.parametrize("cut", [0, 1, 10, 50, -8, -1])
def test_a_profile_that_was_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(PprofError):
        pprof.read(pprof.write(PROFILE)[:cut], LIMIT_BYTES)


def test_what_unpacks_to_too_much_is_refused() -> None:
    with pytest.raises(PprofError, match="too large"):
        pprof.read(gzip.compress(bytes(2**20)), 2**16)
