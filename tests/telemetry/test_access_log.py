"""One line per exchange, for all of them or the same fraction at both hops."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from fastproxy.model import Endpoint, TimedExchange
from fastproxy.telemetry import access_log as access_log_module
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


# --- exchanges on the short way -------------------------------------------------------------------------


def written(tell: Callable[[AccessLog], object], folder: Path, **settings: Any) -> list[bytes]:
    """The lines that a log writes of what it is told."""
    with (folder / "access").open("w+b") as file:
        tell(AccessLog("search-in", settings.pop("fraction", 1.0), LineOutput(file.fileno()), **settings))
        file.seek(0)
        return file.readlines()


def short(
    log: AccessLog, known: TimedExchange, *, exchange_id: str = "a1b2", status: int = 200, cause: str = ""
) -> None:
    endpoint = Endpoint("192.0.2.1", 80, "search:80")
    log.write_short(known, exchange_id, 0.25, 1_800_000_000.0, endpoint, status, cause, (11, 22))


TEXT = st.text(max_size=20)


@given(
    TEXT, TEXT, TEXT, st.binary(max_size=8), st.binary(max_size=20), TEXT, TEXT,
    st.sampled_from([(200, ""), (404, ""), (0, "caller_gone")]), st.booleans(),
)  # fmt: skip
def test_a_line_of_the_short_way_reads_like_any_other(
    tmp_path_factory: pytest.TempPathFactory,
    caller: str,
    service: str,
    route: str,
    method: bytes,
    path: bytes,
    peer: str,
    exchange_id: str,
    outcome: tuple[int, str],
    with_query: bool,
) -> None:
    known = exchange_of("the one that showed the way")
    known.caller, known.service, known.route, known.peer = caller, service, route, peer
    known.method, known.path = method, path
    status, cause = outcome
    exchange = structs.replace(
        known, id=exchange_id, status=status, cause=cause, phase="wait",
        marks=[("wait", 10.0), ("answer", 10.25)],
    )  # fmt: skip

    def tell(log: AccessLog) -> None:
        log.write(exchange, 10.25, 1_800_000_000.0, 11, 22)
        short(log, known, exchange_id=exchange_id, status=status, cause=cause)

    expected, line = map(json.loads, written(tell, tmp_path_factory.mktemp("logs"), with_query=with_query))
    assert line == expected
    assert list(line) == list(expected), "in the same order"


def test_exchanges_that_share_what_is_spelled_once_are_told_apart(tmp_path: Path) -> None:
    searches, sells = exchange_of(), exchange_of()
    sells.service, sells.path, sells.peer = "shop", b"/sell", ""

    def tell(log: AccessLog) -> None:
        for known, exchange_id in ((searches, "1"), (sells, "2"), (searches, "3"), (sells, "4")):
            short(log, known, exchange_id=exchange_id)

    found = [json.loads(line) for line in written(tell, tmp_path)]
    assert [(line["id"], line["service"], line["path"], line.get("peer")) for line in found] == [
        ("1", "search", "/api/service", "192.0.2.9"),
        ("2", "shop", "/sell", None),
        ("3", "search", "/api/service", "192.0.2.9"),
        ("4", "shop", "/sell", None),
    ]


def test_what_is_spelled_is_bounded_and_never_mistaken_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_log_module, "_MOST_SPELLED", 8)

    def tell(log: AccessLog) -> None:
        for number in range(100):
            known = exchange_of()  # may well lie where an earlier one lay that is gone
            known.service = f"service-{number}"
            short(log, known)
            assert len(log._spelled) <= 8

    found = [json.loads(line)["service"] for line in written(tell, tmp_path)]
    assert found == [f"service-{number}" for number in range(100)]


def test_the_time_of_a_line_is_its_own(tmp_path: Path) -> None:
    times_s = [1_800_000_000.0, 1_800_000_000.5, 1_800_000_000.9999, 1_800_000_001.25, 1_799_999_999.125]

    def tell(log: AccessLog) -> None:
        for unix_s in times_s:
            log.write_short(exchange_of(), "1", 0.1, unix_s, Endpoint("192.0.2.1", 80), 200, "", (0, 0))

    assert [json.loads(line)["ts"] for line in written(tell, tmp_path)] == [
        "2027-01-15T08:00:00.000Z",
        "2027-01-15T08:00:00.500Z",
        "2027-01-15T08:00:00.999Z",
        "2027-01-15T08:00:01.250Z",
        "2027-01-15T07:59:59.125Z",
    ]


def test_the_short_way_is_sampled_like_the_long_one(tmp_path: Path) -> None:
    ids = [f"{n:032x}" for n in range(200)]

    def tell(log: AccessLog) -> None:
        for exchange_id in ids:
            short(log, known, exchange_id=exchange_id)

    known = exchange_of()
    sampled = AccessLog("a", 0.25, None)
    found = [json.loads(line)["id"] for line in written(tell, tmp_path, fraction=0.25)]
    assert found == [exchange_id for exchange_id in ids if sampled.wants(exchange_id)]
    assert 0 < len(found) < 200


def test_lines_wait_for_the_end_of_the_turn(file: BinaryIO) -> None:
    loop = PlayedLoop()
    log = AccessLog("search-in", 1.0, loop.gathers(LineOutput(file.fileno())))
    log.write(exchange_of("long"), 10.25, 1.8e9, 11, 22)
    short(log, exchange_of(), exchange_id="short")
    assert lines(file) == []
    loop.end_turn()
    assert [line["id"] for line in lines(file)] == ["long", "short"]
    short(log, exchange_of(), exchange_id="last")
    log.settle()
    assert [line["id"] for line in lines(file)] == ["long", "short", "last"]
