"""Which exchanges are traced, and what is known of them in the end."""

from __future__ import annotations

from itertools import count
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.model import NO_FIELDS, Endpoint
from fastproxy.telemetry.trace_context import find
from fastproxy.telemetry.tracing import PHASES_LIMIT, Chance, Rule, Traced, TracedExchange, Tracer

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\nx-a: 1\r\n\r\n".encode()
UNSAMPLED = f"x-a: 1\r\ntraceparent: 00-{TRACE}-{SPAN}-00\r\ntracestate: A=1\r\n\r\n".encode()
BROKEN = b"traceparent: 00-what\r\ntracestate: a=1\r\n\r\n"


class Stage:
    """A tracer whose random bytes count up, and a clock that is set by hand."""

    def __init__(self, *rules: Rule) -> None:
        numbers = count(1)
        self.now_s = 100.0
        self.taken: list[Traced] = []
        self.tracer = Tracer(
            rules, self.taken.append, lambda: 0.5, lambda size: bytes([next(numbers)] * size)
        )

    def exchange(self, caller: str = "web", service: str = "api") -> TracedExchange:
        exchange = TracedExchange("x1", self.now_s, "10.0.0.1", clock=lambda: self.now_s)
        exchange.caller, exchange.service = caller, service
        return exchange


ALL, NONE = Rule(("*",), ("*",), 1.0), Rule(("*",), ("*",), 0.0)


def test_a_sampled_parent_is_continued_whatever_the_rules_say() -> None:
    stage = Stage(NONE)
    exchange = stage.exchange()
    fields = stage.tracer.begin(exchange, SAMPLED)
    assert fields == f"traceparent: 00-{TRACE}-{'01' * 8}-01\r\ntracestate: a=1\r\nx-a: 1\r\n\r\n".encode()
    assert exchange.trace_id == TRACE
    assert exchange.trace is not None
    assert exchange.trace.parent_id == SPAN
    assert not stage.tracer.passes("web", "api", SAMPLED)


def test_a_parent_that_is_not_sampled_passes_unchanged_whatever_the_rules_say() -> None:
    stage = Stage(ALL)
    exchange = stage.exchange()
    assert stage.tracer.begin(exchange, UNSAMPLED) == UNSAMPLED
    assert (exchange.trace_id, exchange.trace) == (TRACE, None)
    assert stage.tracer.passes("web", "api", UNSAMPLED)


def test_without_a_parent_the_rules_decide() -> None:
    stage = Stage(Rule(("w*",), ("api",), 1.0), NONE)
    for caller, service, begins in (("web", "api", True), ("web", "other", False), ("app", "api", False)):
        exchange = stage.exchange(caller, service)
        assert stage.tracer.passes(caller, service, NO_FIELDS) is not begins
        fields = stage.tracer.begin(exchange, NO_FIELDS)
        assert (exchange.trace is not None) is begins
        parent = find(fields).parent
        assert (parent is not None) is begins
        if parent is not None:
            assert (parent.flags, parent.trace_id) == (3, exchange.trace_id)
    assert Stage().tracer.begin(stage.exchange(), NO_FIELDS) == NO_FIELDS


def test_a_broken_parent_makes_way_for_a_new_trace_sampled_or_not() -> None:
    for rule, flags in ((ALL, 3), (NONE, 2)):
        stage = Stage(rule)
        exchange = stage.exchange()
        assert not stage.tracer.passes("web", "api", BROKEN)
        found = find(stage.tracer.begin(exchange, BROKEN)).parent
        assert found is not None
        assert (found.flags, found.state, found.trace_id) == (flags, b"", exchange.trace_id)
        assert (exchange.trace is not None) is (rule is ALL)


def test_what_has_left_already_begins_no_trace() -> None:
    stage = Stage(ALL)
    exchange = stage.exchange()
    assert stage.tracer.begin(exchange, NO_FIELDS, may_start=False) == NO_FIELDS
    assert (exchange.trace_id, exchange.trace) == ("", None)


def test_what_is_known_at_the_end() -> None:
    stage = Stage(ALL)
    exchange = stage.exchange()
    stage.tracer.begin(exchange, NO_FIELDS)
    exchange.method, exchange.path, exchange.route = b"GET", b"/a/b?token=x", "/a/*"
    for phase in ("connect", "wait", "answer"):
        stage.now_s += 1
        exchange.phase = phase
    exchange.endpoint, exchange.attempts, exchange.status = Endpoint("10.0.0.2", 80, "api:80"), 1, 200
    stage.now_s += 1
    stage.tracer.end(exchange, stage.now_s, 1_000_004.0, 5, 6)
    (traced,) = stage.taken
    assert (traced.started_unix_s, traced.ended_unix_s) == (1_000_000.0, 1_000_004.0)
    assert traced.phases == (
        ("connect", 1_000_001.0, 1_000_002.0),
        ("wait", 1_000_002.0, 1_000_003.0),
        ("answer", 1_000_003.0, 1_000_004.0),
    )
    assert (traced.path, traced.endpoint, traced.spans) == ("/a/b", "api:80", 4)
    stage.tracer.end(exchange, stage.now_s, 1_000_004.0, 5, 6)
    assert len(stage.taken) == 1


def test_what_is_kept_of_an_exchange_is_bounded() -> None:
    stage = Stage(ALL)
    exchange = stage.exchange()
    stage.tracer.begin(exchange, NO_FIELDS)
    exchange.path, exchange.method = b"/" + b"x" * 8000, b"M" * 8000
    for _ in range(1000):
        exchange.phase = "wait"
    stage.tracer.end(exchange, stage.now_s, 0.0, 0, 0)
    (traced,) = stage.taken
    assert len(traced.phases) == PHASES_LIMIT
    assert len(traced.path) + len(traced.method) < 1000


@given(st.floats(0.01, 1), st.integers(0, 2**32))
def test_asking_decides_nothing_and_the_fraction_holds(fraction: float, seed: int) -> None:
    chance = Chance(fraction, Random(seed).random)
    hits, total = 0, 400
    for number in range(total):
        if number % 2 and chance.passes():  # went the short way
            continue
        hits += chance.hits()
    deviation = (total * fraction * (1 - fraction)) ** 0.5
    assert abs(hits - total * fraction) <= 6 * deviation + 1


@pytest.mark.parametrize("drawn", [0.0, 0.5, 1 - 2**-53])
def test_the_edges_of_chance(drawn: float) -> None:
    def random() -> float:
        return drawn

    never, always = Chance(0, random), Chance(1, random)
    assert not any(never.hits() for _ in range(1000))
    assert all(always.hits() for _ in range(1000))
    assert not always.passes()
