"""The command that runs with a proxy: how it is started, and what its end means."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from select import select

import pytest

from fastproxy.app.memory import ALLOCATOR
from fastproxy.supervisor.companion import Companion

ENVIRON = {"PATH": os.environ["PATH"]}


def run(companion: Companion) -> list[int]:
    """Run it to its end; return the exit codes at the times when its end was told."""
    ends: list[int] = []
    companion.on_end(lambda: ends.append(companion.exit_code))
    companion.start()
    if companion.pid is not None:
        _, status = os.waitpid(companion.pid, 0)
        companion.reaped(os.waitstatus_to_exitcode(status))
    return ends


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_its_exit_code_is_the_proxys(code: int) -> None:
    assert run(Companion(["sh", "-c", f"exit {code}"], ENVIRON)) == [code]


def test_a_signal_that_ends_it_shows_in_the_exit_code() -> None:
    assert run(Companion(["sh", "-c", "kill -KILL $$"], ENVIRON)) == [128 + signal.SIGKILL]


def test_a_signal_reaches_all_that_it_has_started(tmp_path: Path) -> None:
    """A shell ends at a signal without the program that it waits for."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    companion = Companion(["sh", "-c", f"exec 3>{fifo}; (echo >&3; sleep 60) & wait"], ENVIRON)
    with open(reader, "rb", buffering=0) as pipe:
        companion.start()
        assert companion.pid is not None
        assert select([pipe], [], [], 30)[0]
        assert pipe.read(1) == b"\n", "the inner shell has begun"
        companion.send(signal.SIGTERM)
        _, status = os.waitpid(companion.pid, 0)
        companion.reaped(os.waitstatus_to_exitcode(status))
        assert companion.exit_code == 128 + signal.SIGTERM
        assert select([pipe], [], [], 30)[0]
        assert pipe.read(1) == b"", "all that held the pipe open are gone"


def test_one_that_may_not_be_told_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    companion = Companion(["true"], ENVIRON)
    companion.start()
    assert companion.pid is not None

    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "killpg", refuse)
    assert not companion.send(signal.SIGTERM)
    _, status = os.waitpid(companion.pid, 0)
    companion.reaped(status)


def test_it_does_not_get_what_is_the_proxys_alone(tmp_path: Path) -> None:
    said = tmp_path / "said"
    environ = {
        **ENVIRON,
        **ALLOCATOR,
        "NOTIFY_SOCKET": "/run/notify",
        "WATCHDOG_USEC": "1",
        "OTHER": "stays",
    }
    run(Companion(["sh", "-c", f"env > {said}"], environ))
    variables = dict(line.split("=", 1) for line in said.read_text().splitlines())
    assert variables["OTHER"] == "stays"
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", *ALLOCATOR} & variables.keys()


def test_settings_of_the_allocator_that_are_somebodys_own_stay(tmp_path: Path) -> None:
    said = tmp_path / "said"
    run(Companion(["sh", "-c", f"env > {said}"], ENVIRON | dict.fromkeys(ALLOCATOR, "1")))
    assert all(f"{name}=1\n" in said.read_text() for name in ALLOCATOR)


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), ("/", 126), ("/etc/passwd", 126)])
def test_one_that_cant_be_started_ends_the_proxy_as_a_shell_would(
    command: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    companion = Companion([command], ENVIRON)
    assert run(companion) == [code]
    assert companion.pid is None
    assert not companion.send(signal.SIGTERM)
    assert "the command is not started" in caplog.text
