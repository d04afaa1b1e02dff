"""What is kept of failures: the last of each cause, cut, bounded, and found by what they are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import OVERLOADED, RATE_LIMITED, TABLE, ProxyError
from fastproxy.model import Endpoint, Exchange
from fastproxy.telemetry.failure_words import HANDSHAKES, REFUSALS, with_words
from fastproxy.telemetry.failures import (
    LIMIT_BYTES,
    TEXT_CHARACTERS,
    Failure,
    Failures,
    Wanted,
    failure_of,
    failure_of_handshake,
    known_cause,
    newest,
)


def kept(kept_per_cause: int = 3) -> Failures:
    failures = Failures("in")
    failures.begin("receiver", kept_per_cause)
    return failures


def failure(cause: str = "rate_limited", number: int = 0, **fields: Any) -> Failure:
    return Failure(exchange=f"x{number}", at_unix_s=float(number), phase="rate", cause=cause, **fields)


def ids(found: list[Failure]) -> list[str]:
    return [one.exchange for one in found]


def test_of_each_cause_the_last_ones_are_kept_and_a_flood_of_one_hides_no_other() -> None:
    failures = kept(3)
    failures.add(failure("no_privilege", 0))
    for number in range(1, 1000):
        failures.add(failure("rate_limited", number))
    assert ids(failures.find(Wanted())) == ["x999", "x998", "x997", "x0"]
    assert {(one.hop, one.role) for one in failures.find(Wanted())} == {("receiver", "in")}


def test_what_only_would_be_refused_hides_no_refusal() -> None:
    failures = kept(1)
    failures.add(failure(number=1))
    passed = failure(number=2)
    passed.is_enforced = False
    failures.add(passed)
    assert ids(failures.find(Wanted())) == ["x2", "x1"]


def test_they_are_found_by_what_they_are() -> None:
    failures = kept(9)
    for number, (cause, caller) in enumerate((("a", "web"), ("a", "app"), ("b", "web"))):
        failures.add(failure(cause, number, caller=caller, trace_id=f"t{number}", service="api"))
    assert ids(failures.find(Wanted(cause="a"))) == ["x1", "x0"]
    assert ids(failures.find(Wanted(caller="web"))) == ["x2", "x0"]
    assert ids(failures.find(Wanted(cause="a", caller="web"))) == ["x0"]
    assert ids(failures.find(Wanted(exchange="x1"))) == ["x1"]
    assert ids(failures.find(Wanted(trace="t2"))) == ["x2"]
    assert ids(failures.find(Wanted(service="api", limit=2))) == ["x2", "x1"]
    assert failures.find(Wanted(service="other")) == []


def test_a_config_that_keeps_fewer_lets_the_oldest_go() -> None:
    failures = kept(3)
    for number in range(3):
        failures.add(failure(number=number))
    failures.begin("other", 1)
    assert ids(failures.find(Wanted())) == ["x2"]
    failures.begin("other", 0)
    failures.add(failure(number=9))
    assert failures.all() == []


@given(st.lists(st.tuples(st.integers(0, 30), st.text(max_size=2000)), max_size=200))
def test_no_text_makes_them_outgrow_their_bounds(added: list[tuple[int, str]]) -> None:
    failures = kept(1000)
    for cause, text in added:
        texts: dict[str, Any] = dict.fromkeys(
            ("path", "detail", "peer", "endpoint", "method", "trace_id"), text * 20
        )
        failures.add(failure(f"c{cause}", **texts))
    records = failures.all()
    assert sum(map(len, records)) <= LIMIT_BYTES
    for record in records:
        found = msgspec.msgpack.decode(record, type=Failure)
        assert all(len(value) <= TEXT_CHARACTERS for value in (found.path, found.detail, found.peer))


def test_numbers_are_bounded_too() -> None:
    failures = kept()
    many = failure()
    many.numbers = {f"n{number}": number for number in range(1000)}
    failures.add(many)
    assert len(failures.find(Wanted())[0].numbers) < 20


def test_of_an_exchange_its_place_and_numbers_are_kept_and_no_query() -> None:
    exchange = Exchange("e1", 10.0, "192.0.2.1", 25.0, "web", "api", "/a/*", b"GET", b"/a/b?token=secret")
    exchange.endpoint, exchange.attempts = Endpoint("192.0.2.7", 80), 2
    error = ProxyError(RATE_LIMITED, "slowly", retry_after_s=0.5, numbers={"per_s": 2, "burst": 1})
    found = failure_of(exchange, error, 10.25, 1e9)
    assert (found.path, found.method, found.route) == ("/a/b", "GET", "/a/*")
    assert (found.status, found.phase, found.detail) == (429, "rate", "slowly")
    assert (found.endpoint, found.attempts, found.duration_s) == ("192.0.2.7:80", 2, 0.25)
    assert found.numbers == {
        "timeout_s": 15.0, "budget_left_s": 14.75, "per_s": 2, "burst": 1, "retry_after_s": 0.5,
    }  # fmt: skip


def test_without_a_deadline_there_are_no_numbers_of_one() -> None:
    found = failure_of(Exchange("e1", 10.0, ""), ProxyError(OVERLOADED), 10.0, 1e9)
    assert found.numbers == {}


def test_newest_goes_over_several_processes() -> None:
    shares = [[failure(number=number) for number in numbers] for numbers in ((5, 1), (4, 2), (3,))]
    merged = newest((one for share in shares for one in share), Wanted(limit=4))
    assert ids(merged) == ["x5", "x4", "x3", "x2"]


@pytest.mark.parametrize("cause", [*TABLE, "caller_gone", "unknown", "handshake_mac", "handshake_new"])
def test_every_cause_has_words(cause: str) -> None:
    phase = "handshake" if cause.startswith("handshake") else "wait"
    told = with_words(Failure(at_unix_s=0.0, phase=phase, cause=cause))
    assert told.title
    assert told.advice


@pytest.mark.parametrize("label", HANDSHAKES)
def test_a_handshake_has_the_advice_of_its_cause(label: str) -> None:
    told = with_words(failure_of_handshake(label, "words", {"limit": 3}, "192.0.2.1", 1e9))
    assert told.advice == HANDSHAKES[label]
    assert told.title == f"A link was refused: {REFUSALS[label]}"
    assert (told.phase, told.numbers) == ("handshake", {"limit": 3})


def test_what_another_hop_makes_up_is_unknown() -> None:
    assert known_cause("rate_limited") == "rate_limited"
    assert known_cause("x" * 1000) == "unknown"
