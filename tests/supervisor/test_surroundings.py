"""When those outside are told that the proxy is ready: the service manager, the ready file, the command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.supervisor.activation import Inherited
from fastproxy.supervisor.companion import Companion
from fastproxy.supervisor.notify import Notifier
from fastproxy.supervisor.ready_file import ReadyFile, read
from fastproxy.supervisor.surroundings import PATIENCE_S, Place, Surroundings
from tests.supervisor.manager import Manager

WAITED = "no endpoint is known for api"


class Command(Companion):
    """A command that only notes what happens to it."""

    def __init__(self) -> None:
        super().__init__(["job"], {})
        self.happened: list[str] = []
        self.on_end(lambda: self.happened.append(f"ended, {self.exit_code}"))

    def start(self) -> None:
        self.happened.append("started")
        self.pid = 1

    def send(self, signum: int) -> bool:
        self.happened.append(f"signal {signum}")
        return self.pid is not None


class Scene:
    """Surroundings with a clock that the test sets."""

    def __init__(self, folder: Path, manager: Manager) -> None:
        self.now_s = 100.0
        self.path = folder / "ready"
        self.command = Command()
        self.manager = manager
        notifier = Notifier({"NOTIFY_SOCKET": manager.name}, 1)
        self.surroundings = Surroundings(
            notifier, Inherited(), ReadyFile(self.path), self.command, 60.0, lambda: self.now_s
        )
        self.surroundings.serving(Place("in", "in", "127.0.0.1:8033", ""))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Manager(str(tmp_path / "notify")) as manager:
        yield Scene(tmp_path, manager)


def test_all_are_told_at_once_where_the_proxy_is_ready(scene: Scene) -> None:
    scene.surroundings.look("")
    assert scene.manager.hear() == {"READY": "1", "STATUS": "listens at 127.0.0.1:8033, ready"}
    assert read(scene.path).listen == "127.0.0.1:8033"
    assert scene.command.happened == ["started"]
    scene.surroundings.look("")
    assert scene.command.happened == ["started"]
    assert not scene.manager.has_heard()


def test_the_manager_learns_of_it_in_any_case_the_others_only_when_it_is_so(scene: Scene) -> None:
    scene.surroundings.look(WAITED)
    assert scene.manager.hear() == {"STATUS": f"listens at 127.0.0.1:8033, not ready: {WAITED}"}
    scene.now_s += PATIENCE_S
    scene.surroundings.look(WAITED)
    assert scene.manager.hear()["READY"] == "1"
    assert not scene.path.exists()
    assert scene.command.happened == []
    scene.surroundings.look("")
    assert scene.manager.hear() == {"STATUS": "listens at 127.0.0.1:8033, ready"}
    assert scene.path.exists()
    assert scene.command.happened == ["started"]
    scene.surroundings.look(WAITED)  # a service is lost: the job goes on
    assert scene.manager.hear()["STATUS"].endswith(WAITED)
    assert scene.path.exists()


def test_a_command_that_waits_for_too_long_is_not_started(scene: Scene) -> None:
    scene.now_s += 60
    scene.surroundings.look(WAITED)
    assert scene.command.happened == ["ended, 1"]
    scene.surroundings.look("")
    assert scene.command.happened == ["ended, 1"]


def test_who_was_told_to_end_starts_no_command(scene: Scene) -> None:
    assert not scene.surroundings.pass_on(15)
    scene.surroundings.look("")
    assert scene.command.happened == ["signal 15"]
    assert scene.command.exit_code == 143


def test_the_end_is_told_and_leaves_no_file(scene: Scene) -> None:
    scene.surroundings.look("")
    scene.surroundings.draining()
    assert scene.manager.hear_until(STOPPING="1")["STATUS"].startswith("draining")
    assert read(scene.path).state == "draining"
    scene.surroundings.ended()
    assert not scene.path.exists()


def test_a_proxy_that_was_never_ready_leaves_no_file_either(scene: Scene) -> None:
    scene.surroundings.look(WAITED)
    scene.surroundings.draining()
    assert not scene.path.exists()


def test_a_ready_file_that_cant_be_written_is_tried_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.path.mkdir()
    scene.surroundings.look("")
    assert "the ready file can't be written" in caplog.text
    assert scene.command.happened == [], "a job may want to read it"
    scene.path.rmdir()
    scene.surroundings.look("")
    assert scene.path.is_file()
    assert scene.command.happened == ["started"]
