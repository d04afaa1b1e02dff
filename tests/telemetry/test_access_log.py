"""One line per exchange, for all of them or the same fraction at both hops."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from fastproxy.model import Endpoint, TimedExchange
from fastproxy.telemetry.access_log import AccessLog
from fastproxy.telemetry.output import LineOutput
from tests.telemetry.turns import PlayedLoop


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryIO]:
    with (tmp_path / "access").open("w+b") as opened:
        yield opened


def lines(file: BinaryIO) -> list[Any]:
    file.seek(0)
    return [json.loads(line) for line in file]


def exchange_of(exchange_id: str = "a1b2") -> TimedExchange:
    exchange = TimedExchange(exchange_id, 10.0, "", clock=lambda: 10.0)
    exchange.marks.clear()
    exchange.caller = "chat"
    exchange.service = "search"
    exchange.route = "/api/*"
    exchange.method = b"POST"
    exchange.path = b"/api/service?token=hidden"
    exchange.status = 200
    exchange.endpoint = Endpoint("192.0.2.1", 80, "search:80")
    exchange.attempts = 1
    exchange.peer = "192.0.2.9"
    return exchange


EXPECTED = {
    "ts": "2027-01-15T08:00:00.000Z",
    "id": "a1b2",
    "hop": "search-in",
    "caller": "chat",
    "service": "search",
    "route": "/api/*",
    "method": "POST",
    "path": "/api/service",
    "status": 200,
    "duration_ms": 250.0,
    "bytes_in": 11,
    "bytes_out": 22,
    "endpoint": "search:80",
    "attempts": 1,
    "peer": "192.0.2.9",
}


def test_a_line_has_everything_but_the_query(file: BinaryIO) -> None:
    log = AccessLog("search-in", 1.0, LineOutput(file.fileno()))
    assert log.on
    log.write(exchange_of(), 10.25, 1_800_000_000.0, 11, 22)
    assert lines(file) == [EXPECTED]


def test_the_query_on_demand(file: BinaryIO) -> None:
    AccessLog("search-in", 1.0, LineOutput(file.fileno()), with_query=True).write(
        exchange_of(), 10.25, 1.8e9, 11, 22
    )
    assert lines(file) == [EXPECTED | {"path": "/api/service?token=hidden"}]


def test_phases_add_up_and_a_cause_names_its_phase(file: BinaryIO) -> None:
    exchange = exchange_of()
    exchange.marks = [("read", 10.0), ("connect", 10.1), ("wait", 10.15), ("connect", 10.2)]
    exchange.cause = "deadline_exceeded"
    exchange.phase = "connect"
    AccessLog("search-in", 1.0, LineOutput(file.fileno())).write(exchange, 10.25, 1.8e9, 11, 22)
    assert lines(file) == [
        EXPECTED
        | {
            "cause": "deadline_exceeded",
            "phase": "connect",
            "phases_ms": {"read": 100.0, "connect": 100.0, "wait": 50.0},
        }
    ]


def test_nothing_that_came_in_breaks_a_line(file: BinaryIO) -> None:
    exchange = exchange_of()
    exchange.method = b'PO"\xff\n'
    exchange.path = b'/\r\n{"status": 200}\x1b[31m\xfe'
    AccessLog("search-in", 1.0, LineOutput(file.fileno())).write(exchange, 10.25, 1.8e9, 11, 22)
    [line] = lines(file)
    assert line["path"].startswith('/\r\n{"status": 200}\x1b')


def test_off_writes_nothing(file: BinaryIO) -> None:
    for log in (AccessLog("a", 0.0, LineOutput(file.fileno())), AccessLog("a", 1.0, None)):
        assert not log.on
        log.write(exchange_of(), 10.25, 1.8e9, 11, 22)
    assert lines(file) == []


def test_sampling_follows_from_the_id_alone(file: BinaryIO) -> None:
    here, there = (
        AccessLog("a", 0.25, LineOutput(file.fileno())),
        AccessLog("b", 0.25, LineOutput(file.fileno())),
    )
    ids = [f"{n:032x}" for n in range(4000)]
    sampled = [exchange_id for exchange_id in ids if here.wants(exchange_id)]
    assert sampled == [exchange_id for exchange_id in ids if there.wants(exchange_id)]
    assert 800 < len(sampled) < 1200
    for exchange_id in ids[:100]:
        here.write(exchange_of(exchange_id), 10.25, 1.8e9, 0, 0)
    assert [line["id"] for line in lines(file)] == [one for one in sampled if one in ids[:100]]


def test_all_are_sampled_at_one(file: BinaryIO) -> None:
    log = AccessLog("a", 1.0, LineOutput(file.fileno()))
    assert all(log.wants(f"{n}") for n in range(1000))


def test_lines_wait_for_the_end_of_the_turn(file: BinaryIO) -> None:
    loop = PlayedLoop()
    log = AccessLog("search-in", 1.0, loop.gathers(LineOutput(file.fileno())))
    log.write(exchange_of("first"), 10.25, 1.8e9, 11, 22)
    log.write(exchange_of("second"), 10.25, 1.8e9, 11, 22)
    assert lines(file) == []
    loop.end_turn()
    assert [line["id"] for line in lines(file)] == ["first", "second"]
    log.write(exchange_of("last"), 10.25, 1.8e9, 11, 22)
    log.settle()
    assert [line["id"] for line in lines(file)] == ["first", "second", "last"]
