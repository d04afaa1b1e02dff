"""Reading what /proc counts, of processes that are known to have used it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.bench.accounting import (
    begin_peak,
    cpu_s,
    largest_bytes,
    parse_stat,
    peak_bytes,
    resident_bytes,
)


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
        assert resident_bytes(parent.pid) / 2 <= largest_bytes(parent.pid) < resident_bytes(parent.pid)
    finally:
        parent.communicate(timeout=10)
    with pytest.raises(ProcessLookupError):
        cpu_s(parent.pid)


HELD_BYTES = 64 << 20

HOLD = f"""
import sys
held = bytearray({HELD_BYTES})
held[::4096] = bytes(len(held[::4096]))  # touched, so that it is resident
del held
print("done", flush=True)
sys.stdin.read()
"""


def test_the_peak_is_what_was_held_since_it_began() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        assert peak_bytes(process.pid) > resident_bytes(process.pid) + HELD_BYTES // 2
        begin_peak(process.pid)
        assert peak_bytes(process.pid) < resident_bytes(process.pid) + HELD_BYTES // 2
    finally:
        process.communicate(timeout=10)
    for measure in (begin_peak, peak_bytes):
        with pytest.raises(ProcessLookupError):
            measure(process.pid)
