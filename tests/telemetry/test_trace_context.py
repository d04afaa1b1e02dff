"""The rules of W3C Trace Context (Level 2), case by case, and what holds for any header."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastproxy.telemetry.trace_context import (
    LARGE_MEMBER_BYTES,
    NOTHING,
    RANDOM,
    SAMPLED,
    STATE_BYTES,
    STATE_MEMBERS,
    TraceContext,
    find,
    parse_parent,
    parse_state,
    replaced,
    trace_id_in,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
IDS = f"{TRACE}-{SPAN}"
PARENT = f"00-{IDS}-01"


@pytest.mark.parametrize(
    ("value", "flags"),
    [
        (f"00-{IDS}-00", 0),
        (f"00-{IDS}-01", SAMPLED),
        (f"00-{IDS}-02", RANDOM),
        (f"00-{IDS}-03", SAMPLED | RANDOM),
        (f"00-{IDS}-ff", SAMPLED | RANDOM),  # reserved flags go on as 0
        (f"00-{IDS}-09", SAMPLED),
        (f" \t00-{IDS}-01\t ", SAMPLED),  # white space around a field's value is none of it
        (f"01-{IDS}-01", SAMPLED),  # a version to come is read as far as it is known
        (f"cc-{IDS}-01-what-the-future-will-be-like", SAMPLED),
        (f"cc-{IDS}-01-", SAMPLED),
        (f"fe-{IDS}-00", 0),
    ],
)
def test_a_traceparent_that_can_be_used(value: str, flags: int) -> None:
    assert parse_parent(value.encode()) == TraceContext(TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{IDS}-01",  # forbidden version
        f"00-{IDS}-01-",  # version 00 ends there
        f"00-{IDS}-01-more",
        f"00-{IDS}-01.",
        f"cc-{IDS}-01.what",  # only a dash may follow
        f"cc-{IDS}-012",
        f"cc-{IDS}-0",
        f"0-{IDS}-01",
        f"000-{IDS}-01",
        f"0x-{IDS}-01",
        f"-{IDS}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}0-{SPAN}-01",
        f"00-{TRACE}-{SPAN[1:]}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f"00-{IDS}-1",
        f"00-{IDS}-001",
        f"00-{IDS}",
        f"00-{IDS}-",
        f"00-{IDS.upper()}-01",  # lower case only
        f"CC-{IDS}-01",
        f"00-{IDS}-0A",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"cc-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE[:-1]}.-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE} -{SPAN}-01",
        f"{PARENT},{PARENT}",
        f"00-{'٣' * 32}-{SPAN}-01",  # digits, but not of ASCII
    ],
)
def test_a_traceparent_that_cannot(value: str) -> None:
    assert parse_parent(value.encode()) is None


def members(count: int) -> str:
    return ",".join(f"k{number}=v" for number in range(count))


@pytest.mark.parametrize(
    ("values", "state"),
    [
        (["foo=1"], "foo=1"),
        (["foo=1,bar=2"], "foo=1,bar=2"),
        (["foo=1", "bar=2"], "foo=1,bar=2"),  # several fields are one, in order
        (["bar=2", "foo=1"], "bar=2,foo=1"),
        (["", "foo=1", " "], "foo=1"),
        (["foo=1,,\t, bar=2 ,"], "foo=1,bar=2"),  # empty members say nothing
        ([""], ""),
        (["foo=1 \t , \tbar=2"], "foo=1,bar=2"),
        (["foo=1,foo=2,bar=3,foo=4"], "foo=1,bar=3"),  # the first is the latest
        (["foo= 1"], "foo= 1"),  # a value may begin with spaces
        (["foo=a b"], "foo=a b"),
        (["0tenant@system=1"], "0tenant@system=1"),
        (["a_-*/@b=!+.;<>~"], "a_-*/@b=!+.;<>~"),
        ([f"{'k' * 256}={'v' * 255}"], f"{'k' * 256}={'v' * 255}"),
        ([f"k={'v' * 256}"], f"k={'v' * 256}"),
        ([members(STATE_MEMBERS)], members(STATE_MEMBERS)),
        ([members(STATE_MEMBERS) + ",,"], members(STATE_MEMBERS)),
        # --- what breaks a rule takes the whole with it
        ([members(STATE_MEMBERS + 1)], ""),
        ([members(20), members(13)], ""),
        (["foo=1,bar"], ""),
        (["foo"], ""),
        (["foo="], ""),
        (["=1"], ""),
        (["foo =1"], ""),
        (["FOO=1"], ""),
        (["foo.bar=1"], ""),
        (["@foo=1"], ""),
        (["_foo=1"], ""),
        (["foo=1=2"], ""),
        (["foo=ba\tr"], ""),
        (["foo=\x80"], ""),
        ([f"{'k' * 257}=v"], ""),
        ([f"k={'v' * 257}"], ""),
    ],
)
def test_tracestate(values: list[str], state: str) -> None:
    assert parse_state([value.encode("latin-1") for value in values]) == state.encode()


def test_a_tracestate_that_is_too_long_loses_large_members_first_then_those_at_the_end() -> None:
    large = [f"large{number}={'x' * LARGE_MEMBER_BYTES}" for number in range(2)]
    small = [f"k{number}={'z' * 75}" for number in range(5)]
    written = [large[0], *small, large[1]]  # 682 characters: without one large member it is still too long
    assert parse_state([",".join(written).encode()]) == ",".join(small).encode()
    many = [f"k{number}={'z' * 100}" for number in range(6)]
    assert parse_state([",".join(many).encode()]) == ",".join(many[:4]).encode()
    exact = f"a={'v' * 254},b={'v' * 253}"
    assert len(exact) == STATE_BYTES
    assert parse_state([exact.encode()]) == exact.encode()


def fields(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


@pytest.mark.parametrize("name", ["traceparent", "Traceparent", "TRACEPARENT", "TraceParent"])
def test_field_names_are_taken_in_any_case(name: str) -> None:
    found = find(fields("x-a: 1", f"{name}: {PARENT}", "TrAcEsTaTe: foo=1"))
    assert found.parent == TraceContext(TRACE, SPAN, SAMPLED, b"foo=1")
    assert trace_id_in(fields(f"{name}: {PARENT}")) == TRACE


@pytest.mark.parametrize(
    "lines",
    [
        [f"traceparent: {PARENT}", f"traceparent: {PARENT}"],  # of two, none can be believed
        [f"traceparent: {PARENT}", f"Traceparent: 00-{TRACE}-{SPAN[::-1]}-00"],
        ["traceparent: ", "tracestate: foo=1"],
        ["tracestate: foo=1"],
    ],
)
def test_a_broken_context_is_told_from_none(lines: list[str]) -> None:
    found = find(fields(*lines))
    assert (found.parent, found.is_broken) == (None, True)
    assert trace_id_in(fields(*lines)) == ""


@pytest.mark.parametrize(
    "line", ["trace-parent: x", "trace_parent: x", "xtraceparent: x", "traceparents: x", "x: traceparent: y"]
)
def test_other_fields_are_left_alone(line: str) -> None:
    assert find(fields(line)) is NOTHING
    assert replaced(fields(line), TraceContext(TRACE, SPAN, 1)) == fields(f"traceparent: {PARENT}", line)


def test_a_broken_tracestate_does_not_break_its_traceparent() -> None:
    assert find(fields(f"traceparent: {PARENT}", "tracestate: UP=1")).parent == TraceContext(
        TRACE, SPAN, SAMPLED
    )


NAMES = st.sampled_from(["traceparent", "TraceParent", "tracestate", "x-request-id", "cookie"])
VALUES = st.one_of(
    st.just(PARENT),
    st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]*)?", fullmatch=True),
    st.from_regex(r"[a-z=,@ ]{1,40}", fullmatch=True),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=80),
)
LINES = st.lists(
    st.tuples(NAMES, VALUES).map(lambda field: f"{field[0]}: {field[1].strip(' ') or '-'}"), max_size=6
)
CONTEXTS = st.builds(
    TraceContext,
    st.from_regex(r"[0-9a-f]{31}[1-9a-f]", fullmatch=True),
    st.from_regex(r"[0-9a-f]{15}[1-9a-f]", fullmatch=True),
    st.integers(0, 3),
    st.sampled_from([b"", b"a=1", b"a=1,b=2"]),
)
STATE = re.compile(rb"[a-z0-9][a-z0-9_*/@-]*=[ -+\--<>-~]*[!-+\--<>-~]")


@given(LINES)
@example(["tracestate: foo=1", f"traceparent: {PARENT}"])
def test_what_is_found_is_well_formed_whatever_comes(lines: list[str]) -> None:
    parent = find(fields(*lines)).parent
    if parent is None:
        return
    assert re.fullmatch(r"[0-9a-f]{32}", parent.trace_id)
    assert re.fullmatch(r"[0-9a-f]{16}", parent.span_id)
    assert int(parent.trace_id, 16)
    assert int(parent.span_id, 16)
    assert parent.flags in range(4)
    assert len(parent.state) <= STATE_BYTES
    parts = parent.state.split(b",") if parent.state else []
    assert all(STATE.fullmatch(part) for part in parts)
    assert len({part.partition(b"=")[0] for part in parts}) == len(parts) <= STATE_MEMBERS


@given(LINES, CONTEXTS)
def test_what_is_written_is_read_again_and_touches_nothing_else(
    lines: list[str], context: TraceContext
) -> None:
    written = replaced(fields(*lines), context)
    assert find(written).parent == context
    others = [line for line in lines if not line.lower().startswith(("traceparent:", "tracestate:"))]
    assert written == fields(context.lines.decode().removesuffix("\r\n"), *others)


@given(st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=600), max_size=4))
def test_reading_a_tracestate_again_changes_nothing(values: list[str]) -> None:
    state = parse_state([value.encode() for value in values])
    assert parse_state([state]) == state
