"""Samples of CPU time: each belongs to the system call that caused it, or to the library that ran."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastproxy.bench.load import LoadError
from fastproxy.bench.sampling import (
    C_LIBRARY,
    CIPHER,
    COSTS,
    EVENT_LOOP,
    FORBIDDEN,
    OTHER,
    OTHER_KERNEL,
    PROGRAM,
    RECEIVE,
    SEND,
    WAIT,
    cost_of,
    parse_stacks,
    sampled,
    shares,
)

SHOWN = """
\t    1106af PyFloat_FromDouble (/usr/bin/python3.11)

\tffffffff81e31548 tcp_rcv_established ([kernel.kallsyms])
\tffffffff8200dbe6 tcp_sendmsg_locked ([kernel.kallsyms])
\tffffffff816b98aa ksys_write ([kernel.kallsyms])
\tffffffff821ed511 do_syscall_64 ([kernel.kallsyms])
"""
KERNEL = "[kernel.kallsyms]"


def test_stacks_are_told_apart_by_empty_lines() -> None:
    first, second = parse_stacks(SHOWN.splitlines())
    assert first == [("PyFloat_FromDouble", "/usr/bin/python3.11")]
    assert [symbol for symbol, _ in second][::3] == ["tcp_rcv_established", "do_syscall_64"]


@pytest.mark.parametrize(
    ("running", "cost"),
    [
        ("/usr/bin/python3.11", PROGRAM),
        ("/opt/lib/libpython3.11.so.1.0", PROGRAM),
        ("/usr/sbin/haproxy", PROGRAM),
        ("/v/site-packages/uvloop/loop.cpython-311-x86_64-linux-gnu.so", EVENT_LOOP),
        ("/v/site-packages/cryptography/hazmat/bindings/_rust.abi3.so", CIPHER),
        ("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", CIPHER),
        ("/usr/lib/x86_64-linux-gnu/libc.so.6", C_LIBRARY),
        ("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", C_LIBRARY),
        ("/v/site-packages/msgspec/_core.cpython-311-x86_64-linux-gnu.so", OTHER),
        ("[vdso]", OTHER),
    ],
)
def test_outside_the_kernel_the_library_counts(running: str, cost: str) -> None:
    assert cost_of([("f", running), ("ksys_write", KERNEL)]) == cost


@pytest.mark.parametrize(
    ("symbols", "cost"),
    [
        (["tcp_ack", "tcp_recvmsg", "tcp_sendmsg", "vfs_write", "ksys_write", "do_syscall_64"], SEND),
        (["tcp_sendmsg", "__sys_sendto", "__x64_sys_sendto"], SEND),
        (["_copy_to_iter", "tcp_recvmsg", "vfs_read", "ksys_read"], RECEIVE),
        (["tcp_recvmsg", "__sys_recvfrom"], RECEIVE),
        (["tcp_poll", "ep_send_events", "do_epoll_wait"], WAIT),
        (["irqentry_exit_to_user_mode"], OTHER_KERNEL),
    ],
)
def test_in_the_kernel_the_call_counts_that_led_there(symbols: list[str], cost: str) -> None:
    assert cost_of([(symbol, KERNEL) for symbol in symbols]) == cost


COMPUTING = "while True: pass"
SENDING = """\
import socket

own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.bind(("127.0.0.1", 0))
content = bytes(60_000)
while True:
    own.sendto(content, own.getsockname())
"""


@pytest.mark.parametrize(("program", "cost"), [(COMPUTING, PROGRAM), (SENDING, SEND)])
def test_a_program_is_seen_to_do_what_it_does(program: str, cost: str, tmp_path: Path) -> None:
    file = tmp_path / "samples"
    with subprocess.Popen([sys.executable, "-c", program]) as running:
        try:
            with sampled([running.pid], file):
                while cpu_ticks(running.pid) < 50:
                    os.sched_yield()
            found = shares(file)
        except LoadError as error:  # in most containers
            if FORBIDDEN in str(error):
                return
            raise
        finally:
            running.kill()
    assert sum(found.values()) == pytest.approx(1)
    assert found.keys() == COSTS.keys()
    assert found[cost] > 0.5


def cpu_ticks(pid: int) -> int:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def test_what_cannot_be_sampled_is_told(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=FORBIDDEN), sampled([2**22 + 1], tmp_path / "samples"):
        pass
