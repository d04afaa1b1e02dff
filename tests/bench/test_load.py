"""Reading what wrk prints, and the transfers of curl, against the service itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.bench.configs import CALLER_PATH, FILES_PATH, SERVICE, SINK_PATH
from fastproxy.bench.load import (
    Download,
    LoadError,
    SteadyResult,
    fetch,
    open_connections,
    parse_wrk,
    run_wrk,
    send,
    stalled_download,
)
from fastproxy.bench.processes import Fleet, pick_ports
from fastproxy.bench.standing import start_service

CLEAN = """\
Running 5s test @ http://127.0.0.1:8034/search_service/api/service
  2 threads and 128 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     6.41ms    1.93ms  41.20ms   86.53%
    Req/Sec    10.02k     1.10k   12.52k    74.00%
  Latency Distribution
     50%  950.00us
     75%    7.12ms
     90%    8.66ms
     99%    1.25s
  99712 requests in 5.01s, 19.21MB read
Requests/sec:  19902.59
Transfer/sec:      3.83MB
"""

TROUBLED = CLEAN.replace(
    "Requests/sec",
    """\
  Socket errors: connect 1, read 20, write 300, timeout 4000
  Non-2xx or 3xx responses: 17
Requests/sec""",
)


def test_wrk_without_errors() -> None:
    result = parse_wrk(CLEAN)
    assert (result.requests, result.requests_per_s) == (99712, 19902.59)
    assert result.p50_ms == pytest.approx(0.95)
    assert result.p99_ms == pytest.approx(1250.0)
    assert result.max_ms == pytest.approx(41.2)
    assert (result.socket_errors, result.non_2xx) == (0, 0)
    assert result.fault() is None


def test_wrk_with_errors_counts_them_all() -> None:
    result = parse_wrk(TROUBLED)
    assert (result.socket_errors, result.non_2xx) == (4321, 17)
    assert result.requests == 99712
    assert result.fault() == "17 answers other than 2xx and 4321 socket errors in 99712 requests"


@pytest.mark.parametrize("lost", ["99712 requests", "Latency  ", "50%", "99%", "Requests/sec"])
def test_wrk_output_that_lacks_a_figure_is_refused(lost: str) -> None:
    text = "\n".join(line for line in CLEAN.splitlines() if not line.strip().startswith(lost))
    with pytest.raises(LoadError):
        parse_wrk(text)


FILES = f"/{SERVICE}{FILES_PATH}"
SINK = f"/{SERVICE}{SINK_PATH}"


@pytest.fixture(scope="module")
def service_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with Fleet() as fleet:
        yield start_service(tmp_path_factory.mktemp("service"), fleet).port


@pytest.mark.parametrize(("path", "is_answered"), [(CALLER_PATH, True), (SINK, False)])
def test_the_sink_alone_waits_for_the_whole_body(service_port: int, path: str, *, is_answered: bool) -> None:
    with socket.create_connection(("127.0.0.1", service_port), timeout=10) as caller:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
        caller.sendall(head.encode() + bytes(50_000))
        caller.shutdown(socket.SHUT_WR)
        with caller.makefile("rb") as stream:
            assert stream.readline().startswith(b"HTTP/1.1 200") == is_answered


def test_errors_of_a_service_are_counted(service_port: int) -> None:
    result = run_wrk(service_port, "/nowhere", connections=2, seconds=1)
    assert result.non_2xx == result.requests > 0


def test_a_port_where_nobody_listens_is_no_measurement() -> None:
    (port,) = pick_ports(1)
    with pytest.raises(LoadError, match="wrk ended"):
        run_wrk(port, CALLER_PATH, connections=1, seconds=1)


def test_files_are_sent_and_fetched(service_port: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100_000))
    send(service_port, SINK, tmp_path / "file", limit_s=10)
    fetch(service_port, f"{FILES}/4096", limit_s=10)


def test_a_refused_transfer_is_no_measurement(service_port: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(LoadError, match="404"):
        send(service_port, "/nowhere", tmp_path / "file", limit_s=10)
    with pytest.raises(LoadError, match="404"):
        fetch(service_port, f"{FILES}/nothing", limit_s=10)


def test_a_download_goes_on_until_its_time_is_up(service_port: int) -> None:
    with Download(service_port, f"{FILES}/endless", seconds=1) as download:
        assert download.wait_mb_per_s() > 0


@pytest.mark.parametrize("file", ["4096", "nothing"])
def test_a_download_that_ends_early_is_no_measurement(service_port: int, file: str) -> None:
    with (
        Download(service_port, f"{FILES}/{file}", seconds=10) as download,
        pytest.raises(LoadError, match="before its time"),
    ):
        download.wait_mb_per_s()


def test_only_a_good_answer_is_left_unread(service_port: int) -> None:
    with stalled_download(service_port, f"{FILES}/endless"):
        pass
    with (
        pytest.raises(LoadError, match="404"),
        stalled_download(service_port, f"{FILES}/nothing"),
    ):
        pass


def test_connections_stay_open_while_they_are_held(service_port: int) -> None:
    """As the kernel lists them; one of a test before may linger."""

    def count() -> int:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
        ends = [line.split()[1:4] for line in lines]
        return sum(local.endswith(f":{service_port:04X}") and state == "01" for local, _, state in ends)

    with open_connections(service_port, 70):  # more than are opened at once
        assert count() >= 70


def test_connections_that_nobody_takes_are_no_measurement() -> None:
    (port,) = pick_ports(1)
    with pytest.raises(LoadError, match="0 of 3 connections"), open_connections(port, 3):
        pass


def steady_result(
    *, reached_per_s: float = 1000.0, unsent: int = 0, generator_busy: float = 0.2, non_2xx: int = 0
) -> SteadyResult:
    return SteadyResult(
        requests=1000,
        asked_per_s=1000,
        reached_per_s=reached_per_s,
        unsent=unsent,
        p50_ms=1.0,
        p90_ms=2.0,
        p99_ms=3.0,
        p999_ms=4.0,
        max_ms=5.0,
        lag_p99_ms=0.1,
        generator_busy=generator_busy,
        non_2xx=non_2xx,
    )


def test_a_rate_that_is_missed_saturates() -> None:
    assert not steady_result(reached_per_s=990.0).is_saturated()
    assert steady_result(reached_per_s=900.0).is_saturated()
    assert steady_result(unsent=1).is_saturated()


def test_a_generator_that_can_do_no_more_is_told_from_a_chain_that_cannot() -> None:
    assert steady_result(unsent=500).fault() is None
    assert "generator fell behind" in (steady_result(unsent=500, generator_busy=0.95).fault() or "")
    assert steady_result(generator_busy=0.95).fault() is None  # it kept up
