"""What one program leaves to the next: written, sealed, read."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fastproxy.control.board import PLACES, SLOTS
from fastproxy.control.channel import Message, Rest
from fastproxy.control.ledger import Sizes
from fastproxy.control.messages import Drain, Status, Take
from fastproxy.supervisor import legacy as legacies
from fastproxy.supervisor.legacy import (
    FORMAT,
    Bound,
    Legacy,
    LegacyError,
    Particulars,
    leave,
    particulars_of,
    take,
)
from fastproxy.supervisor.process import Inherited
from fastproxy.supervisor.tally import Kept
from fastproxy.telemetry.state import Outcome, SeriesState, State

SHOW = f"""
import sys
sys.path.insert(0, {str(Path(legacies.__file__).parents[2])!r})
import fcntl, os, signal
from fastproxy.supervisor.legacy import particulars_of, release_signals, take
fd = int(sys.argv[5].removeprefix("--take-over="))
seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
signal.signal(signal.SIGTERM, lambda *_: print("SIGTERM has waited"))
print("pid", os.getpid(), sys.argv[1:5], sys.argv[6:])
legacy = take(fd)
print(legacy.version, particulars_of(legacy).workers[0].pid, os.pread(legacy.snapshot, 9, 0))
print([os.get_inheritable(fd) for fd in legacy.descriptors], seals == 15)
release_signals()
"""
"""A program that takes over, and says what it finds."""

LEAVE = """
import os, signal, sys
from fastproxy.supervisor.legacy import hold_signals, leave
from tests.supervisor.test_legacy import some
hold_signals()
os.kill(os.getpid(), signal.SIGTERM)
print("pid", os.getpid(), flush=True)
leave(some(), sys.argv[1], ["in.yaml", "--take-over=77", "--ready-file=r", "--", "job"])
"""


def some(format: int = FORMAT) -> Legacy:
    """A legacy, with memory in place of what the descriptors are of."""
    snapshot, board, ledger, listening, asker, channel = (os.memfd_create(name) for name in "abcdef")
    os.write(snapshot, b"a config")
    worker = Inherited(4711, 3, False, Rest(channel, 17, b"half"), State("in", "1.0"), None)
    known = Particulars(
        board, ledger, (), (worker,), Kept(State("in", "1.0", cpu_s=2.5), {"drained": 2}, {}, 1.0)
    )
    return Legacy(
        version="1.0",
        format=format,
        listen=Bound("127.0.0.1:0", (listening,)),
        admin=None,
        door=None,
        grace_s=3.0,
        snapshot=snapshot,
        asker=asker,
        others=known.descriptors,
        particulars=msgspec.msgpack.encode(known),
    )


@pytest.fixture
def left() -> Iterator[Legacy]:
    legacy = some()
    yield legacy
    legacies.close_all(legacy.descriptors)


def memory(content: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, content)
    return fd


def test_the_next_program_is_the_same_process_and_finds_it_all_sealed(tmp_path: Path) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!{sys.executable}\n{SHOW}")
    interpreter.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", LEAVE, str(interpreter)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    before, after, read, marks, waited = done.stdout.splitlines()
    arguments = ["-P", "-m", "fastproxy.supervisor", "in.yaml"], ["--ready-file=r", "--", "job"]
    assert after == f"{before} {arguments[0]} {arguments[1]}"
    assert read == "1.0 4711 b'a config'"
    assert marks == f"{[False] * 6} True"
    assert waited == "SIGTERM has waited"


def test_where_the_next_program_can_not_be_run_all_is_as_before(left: Legacy) -> None:
    count = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        leave(left, "/nowhere/python", ["in.yaml"])
    assert len(os.listdir("/proc/self/fd")) == count
    assert not any(os.get_inheritable(fd) for fd in left.descriptors)


def test_what_a_later_version_adds_is_no_hindrance_and_what_it_leaves_out_has_a_default(left: Legacy) -> None:
    fields = msgspec.structs.asdict(left) | {"added": {"later": True}}
    del fields["reload_is_due"]
    taken = take(memory(msgspec.msgpack.encode(fields)))
    assert taken == left
    known = particulars_of(taken)
    assert known is not None
    rest = known.workers[0].rest
    assert rest is not None
    assert (rest.number, rest.unread) == (17, b"half")


@pytest.mark.parametrize("particulars", [b"\x91\x01", b"", msgspec.msgpack.encode({"board": "no number"})])
def test_particulars_that_can_not_be_read_are_those_of_another_format(
    left: Legacy, particulars: bytes
) -> None:
    assert particulars_of(msgspec.structs.replace(left, particulars=particulars)) is None
    assert particulars_of(msgspec.structs.replace(left, format=FORMAT + 1)) is None
    assert particulars_of(left) is not None


@pytest.mark.parametrize("content", [b"", b"\xc1", msgspec.msgpack.encode({"version": "1.0"})])
def test_a_legacy_that_makes_no_sense_is_told_with_advice(content: bytes) -> None:
    fd = memory(content)
    with pytest.raises(LegacyError, match="fastproxy run"):
        take(fd)
    os.close(fd)


def test_a_format_is_one_format() -> None:
    """Who changes what is said between a supervisor and the workers of another version raises `FORMAT`."""
    kinds = (
        Particulars,
        Inherited,
        Kept,
        Rest,
        Message,
        Drain,
        Status,
        Take,
        State,
        SeriesState,
        Outcome,
        Sizes,
    )
    fields = {kind.__name__: " ".join(kind.__struct_fields__) for kind in kinds}
    assert (FORMAT, SLOTS, PLACES, fields) == (
        1,
        512,
        64,
        {
            "Particulars": "board ledger inboxes workers tally",
            "Inherited": "pid number is_leaving rest state status",
            "Kept": "ended endings reloads start_unix_s upgrades tap_lines",
            "Rest": "fd number unread",
            "Message": "kind number topic content",
            "Drain": "is_last",
            "Status": "not_ready",
            "Take": "kind seconds file limit_bytes",
            "State": "role version challenges cpu_s series tallies levels listed key_uses resident_bytes "
            "histograms",
            "SeriesState": "caller service retries bytes_in bytes_out refusals would_refuse outcomes route",
            "Outcome": "outcome cause counts sum_s",
            "Sizes": "rates sessions",
        },
    )
