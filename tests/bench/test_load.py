"""Reading what wrk prints and what /proc counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.bench.load import LoadError, cpu_s, parse_stat, parse_wrk, resident_bytes

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
    assert (result.socket_errors, result.non_2xx) == (0, 0)


def test_wrk_with_errors_counts_them_all() -> None:
    result = parse_wrk(TROUBLED)
    assert (result.socket_errors, result.non_2xx) == (4321, 17)
    assert result.requests == 99712


@pytest.mark.parametrize("lost", ["99712 requests", "50%", "99%", "Requests/sec"])
def test_wrk_output_that_lacks_a_figure_is_refused(lost: str) -> None:
    text = "\n".join(line for line in CLEAN.splitlines() if not line.strip().startswith(lost))
    with pytest.raises(LoadError):
        parse_wrk(text)


@settings(max_examples=50)
@given(
    name=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=15),
    fields=st.lists(st.integers(0, 10**12), min_size=49, max_size=49),
)
def test_stat_is_read_by_position_whatever_the_name(name: str, fields: list[int]) -> None:
    # Fields 4 to 52 of proc_pid_stat(5).
    stat = parse_stat(f"4242 ({name}) S {' '.join(map(str, fields))}\n")
    assert stat.parent_pid == fields[0]
    assert stat.cpu_ticks == sum(fields[10:14])
    assert stat.resident_pages == fields[20]


BURN = """
import os, sys, threading, time
def burn():
    while time.thread_time() < 0.15:
        pass
if os.fork() == 0:      # a child, with two threads, that lives on
    other = threading.Thread(target=burn)
    other.start(); burn(); other.join()
    print("done", flush=True)
sys.stdin.read()
"""


def test_cpu_and_memory_count_threads_and_children() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "done\n"
        used_s = cpu_s(parent.pid)
        # Two threads of 0.15 s, less what the clock's grain hides.
        assert 0.25 <= used_s < 5
        one_interpreter = parse_stat(Path(f"/proc/{parent.pid}/stat").read_text()).resident_pages
        assert resident_bytes(parent.pid) > one_interpreter * os.sysconf("SC_PAGE_SIZE")
    finally:
        parent.communicate(timeout=10)
    with pytest.raises(ProcessLookupError):
        cpu_s(parent.pid)
