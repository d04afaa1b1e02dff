"""What the service manager is told, and when the watchdog gets its signs of life."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from fastproxy.supervisor.notify import Notifier
from tests.supervisor.manager import Manager

PID = 4711


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@fastproxy-test-{os.getpid()}"
    with Manager(name) as manager:
        yield manager


def notifier(manager: Manager, **variables: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.name, **variables}, PID)


def test_start_state_and_end_are_told(manager: Manager) -> None:
    told = notifier(manager)
    told.ready("listens")
    assert manager.hear() == {"READY": "1", "STATUS": "listens"}
    told.status("listens")  # as before: nothing is sent
    told.status("not ready: two\nlines")
    assert manager.hear() == {"STATUS": "not ready: two lines"}
    told.succeeded_by(815)
    assert manager.hear() == {"MAINPID": "815"}
    told.stopping("draining")
    assert manager.hear() == {"STOPPING": "1", "STATUS": "draining"}
    assert not manager.has_heard()


def test_a_reload_is_told_with_the_moment_of_its_beginning(manager: Manager) -> None:
    told = notifier(manager)
    before_usec = time.monotonic_ns() // 1000
    told.reloading()
    message = manager.hear()
    assert message["RELOADING"] == "1"
    assert before_usec <= int(message["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    told.ready("listens")
    assert manager.hear()["READY"] == "1"


@pytest.mark.parametrize(
    ("variables", "beat_s"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "30000000"}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, 15),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
        ({"WATCHDOG_USEC": "-5"}, 0),
    ],
)
def test_the_watchdog_wants_a_sign_twice_in_its_time(
    manager: Manager, variables: dict[str, str], beat_s: float
) -> None:
    assert notifier(manager, **variables).beat_s == beat_s


def test_signs_of_life_come_only_while_all_is_fine(manager: Manager) -> None:
    looks = count()
    unfine, fine_again = asyncio.Event(), asyncio.Event()

    def is_fine() -> bool:
        look = next(looks)
        if look == 49:
            unfine.set()
        if look == 50:
            fine_again.set()
        return look < 2 or look >= 50

    async def live() -> None:
        told = notifier(manager, WATCHDOG_USEC="20000")
        task = asyncio.create_task(told.keep_alive(is_fine))
        await unfine.wait()  # fine twice, then not, which is looked at more often
        heard = 0
        while manager.has_heard():
            assert manager.hear() == {"WATCHDOG": "1"}
            heard += 1
        assert heard == 2
        await fine_again.wait()
        await asyncio.sleep(0)
        assert manager.has_heard()
        task.cancel()

    asyncio.run(asyncio.wait_for(live(), 30))


def test_without_a_watchdog_nothing_lives_on(manager: Manager) -> None:
    asyncio.run(asyncio.wait_for(notifier(manager).keep_alive(lambda: True), 30))
    assert not manager.has_heard()


def test_without_a_manager_nothing_is_sent() -> None:
    Notifier({"WATCHDOG_USEC": "1000"}, PID).ready("listens")
    assert Notifier({"WATCHDOG_USEC": "1000"}, PID).beat_s == 0


@pytest.mark.parametrize("name", ["relative", "vsock:2:1", ""])
def test_an_address_that_is_none_is_passed_over(name: str, caplog: pytest.LogCaptureFixture) -> None:
    Notifier({"NOTIFY_SOCKET": name}, PID).ready("listens")
    assert ("NOTIFY_SOCKET" in caplog.text) == bool(name)


def test_a_manager_that_is_gone_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}, PID).ready("listens")
    assert "the service manager can't be told" in caplog.text
