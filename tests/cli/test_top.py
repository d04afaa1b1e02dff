"""What `top` makes of two readings, and shows of them."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from fastproxy.cli.top_reading import Reading, calls_between, fullest, last_failures
from fastproxy.cli.top_view import view
from tests.cli.conftest import Call

BOUNDS_S = [0.001, 0.01, 0.1]


def row(*outcomes: dict[str, Any], caller: str = "web") -> dict[str, Any]:
    return {"caller": caller, "service": "api", "route": "/**", "outcomes": list(outcomes)}


def outcome(name: str, buckets: list[int], cause: str = "") -> dict[str, Any]:
    return {"outcome": name, "cause": cause, "count": sum(buckets), "buckets": buckets}


def reading(at_s: float, *rows: dict[str, Any], at: str = "in", **parts: Any) -> Reading:
    worker = {"number": 0, "connections": 3, "in_flight": 2, "loop_lag_s": 0.002}
    proxy = {
        "name": at, "role": "in", "is_ready": True, "not_ready": "", "workers": [worker],
        "process": {"resident_bytes": 2**26},
    }  # fmt: skip
    told = {
        "limits": {"rates": [], "in_use": []},
        "links": {"links": []},
        "failures": {"failures": []},
    } | parts
    return Reading(at, at_s, "", proxy, {"bounds_s": BOUNDS_S, "rows": list(rows)}, **told)


def failure(at_unix_s: float, origin: str = "here", hop: str = "in", exchange: str = "x1") -> dict[str, Any]:
    return {
        "exchange": exchange, "at_unix_s": at_unix_s, "hop": hop, "cause": "rate_limited", "caller": "web",
        "service": "api", "detail": "the rate is 5 \x1b[31mper second", "title": "t", "from": origin,
    }  # fmt: skip


def test_rates_errors_and_quantiles_are_of_what_happened_between_two_readings() -> None:
    before = reading(10.0, row(outcome("2xx", [100, 0, 0, 0]), outcome("4xx", [5, 0, 0, 0], "rate_limited")))
    after = reading(12.0, row(outcome("2xx", [100, 10, 0, 0]), outcome("4xx", [15, 0, 0, 0], "rate_limited")))
    (call,) = calls_between([before], [after])
    assert (call.hop, call.caller, call.service, call.route) == ("in", "web", "api", "/**")
    assert (call.per_s, call.errors) == (10.0, 0.5)
    assert call.p50_s == pytest.approx(0.001)
    assert call.p99_s == pytest.approx(0.001 + 0.009 * 0.98)
    assert not call.is_beyond


def test_a_proxy_that_began_anew_counts_from_nothing() -> None:
    before = reading(10.0, row(outcome("2xx", [100, 0, 0, 0])))
    (call,) = calls_between([before], [reading(11.0, row(outcome("2xx", [0, 0, 0, 7])))])
    assert (call.per_s, call.p99_s, call.is_beyond) == (7.0, 0.1, True)


def test_a_proxy_that_does_not_answer_has_no_calls_and_says_why() -> None:
    gone = Reading("gone", 11.0, "it does not answer")
    assert calls_between([reading(10.0, row())], [gone]) == []
    assert "it does not answer" in shown([gone], 80)


def test_of_a_failure_at_two_hops_only_the_one_counts_that_has_decided() -> None:
    at_out = reading(1.0, at="out", failures={"failures": [failure(5.0, "next hop", "out")]})
    at_in = reading(1.0, failures={"failures": [failure(4.9), failure(4.0, exchange="x0")]})
    ((newest, count),) = last_failures([at_out, at_in])
    assert (newest["hop"], newest["at_unix_s"], count) == ("in", 4.9, 2)
    ((alone, _),) = last_failures([at_out])
    assert alone["hop"] == "out"


def test_limits_are_told_once_they_are_close_to_full() -> None:
    rates = [{"caller": "web", "service": "api", "route": "/**", "used": 1.0, "per_s": 5.0, "refused": 3}]
    in_use = [
        {"name": "connections", "used": 90, "limit": 100},
        {"name": "in_flight", "used": 79, "limit": 100},
    ]
    found = fullest([reading(1.0, limits={"rates": rates, "in_use": in_use})])
    assert [(which, part) for _, which, part, _ in found] == [
        ("rate of web on api /**", 1.0),
        ("connections", 0.9),
    ]


def shown(readings: list[Reading], width: int, sort: str = "rate") -> str:
    console = Console(width=width, record=True, force_terminal=False)
    with console.capture() as captured:
        console.print(view(readings, readings, sort, width, 0))
    return captured.get()


@pytest.mark.parametrize("width", [80, 140])
def test_it_fits_the_terminal_and_nothing_can_steer_that(width: int) -> None:
    link = {
        "caller": "w\x1b[2Jeb", "receiver": "in", "peer": "127.0.0.1:1", "streams_open": 1, "rtt_s": 0.001,
        "opened_unix_s": 5.0, "is_leaving": False,
    }  # fmt: skip
    one = reading(
        1.0,
        row(outcome("2xx", [1, 0, 0, 0]), caller="a-caller-with-a-very-long-name-" * 4),
        links={"links": [link]},
        failures={"failures": [failure(4.9)]},
    )
    text = shown([one], width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    for words in ("Proxies", "in (in)", "64 MiB", "a-caller-with", "rate_limited", "Links", "p99"):
        assert words in text
    assert ("/**" in text) == ("loop lag" in text) == (width > 100)


def test_calls_are_sorted_by_what_is_asked_for() -> None:
    before = reading(0.0)
    rows = [
        row(outcome("2xx", [50, 0, 0, 0]), caller="often"),
        row(outcome("5xx", [1, 0, 0, 0]), caller="bad"),
        row(outcome("2xx", [0, 0, 9, 0]), caller="slow"),
    ]
    console = Console(width=80)
    for sort, first in (("rate", "often"), ("errors", "bad"), ("p99", "slow"), ("name", "bad")):
        with console.capture() as captured:
            console.print(view([before], [reading(1.0, *rows)], sort, 80, 0))
        lines = captured.get().splitlines()
        heading = next(number for number, line in enumerate(lines) if "Who calls whom" in line)
        assert lines[heading + 2].split()[0] == first


def test_nobody_to_ask_is_said(call: Call) -> None:
    result = call("top", "--at", "127.0.0.1:1", "--once")
    assert result.exit_code == 1
    assert "does not answer" in result.output
