"""The supervisor's door: where it is, who may come, what may be said."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastproxy.supervisor.door import (
    LINE_LIMIT_BYTES,
    Asked,
    Door,
    RefusedError,
    answer,
    folders,
    is_private,
)

STRANGER = """
import os, socket, sys
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(20)
    sock.connect(sys.argv[1])
    try:
        sock.sendall(b'{"command":"echo"}\\n')
        print(sock.recv(100) or "no word")
    except ConnectionError:
        print("no word")
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, as that of a socket has to be."""
    with tempfile.TemporaryDirectory(prefix="fp-") as folder:
        yield Path(folder)


async def echo(asked: Asked) -> dict[str, Any]:
    if asked.args.get("refuse"):
        raise RefusedError("because it is so; ask otherwise")
    return {"echo": asked.args}


def play(folder: Path, scene: Callable[[Door], Awaitable[None]]) -> None:
    """Open a door in a folder, and play a scene at it."""

    async def run() -> None:
        door = Door()
        door.register("echo", echo)
        await door.open({"XDG_RUNTIME_DIR": str(folder)})
        async with asyncio.timeout(30):
            await scene(door)
        await door.close()
        assert door.path == ""

    asyncio.run(run())


async def ask(door: Door, line: bytes) -> Any:
    reader, writer = await asyncio.open_unix_connection(door.path)
    writer.write(line)
    said = await reader.read()
    writer.close()
    await writer.wait_closed()
    return json.loads(said) if said else None


def test_what_a_supervisor_has_left_that_was_killed_is_removed_and_nothing_else(folder: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = folder / "fastproxy"
    mine.mkdir(mode=0o700)
    left, silent, foreign = (mine / name for name in (f"{gone.pid}.sock", f"{os.getppid()}.sock", "its.sock"))
    for path in (left, silent, foreign):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    elsewhere = mine / f"{gone.pid + 1}.sock"  # as that of a process that only another container sees
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(elsewhere))
        listening.listen()

        async def scene(door: Door) -> None:
            assert {*mine.iterdir()} == {silent, foreign, elsewhere, Path(door.path)}

        play(folder, scene)


def test_a_command_is_done_and_answered(folder: Path) -> None:
    async def scene(door: Door) -> None:
        assert await ask(door, b'{"command":"echo","args":{"a":1}}\n') == {"ok": True, "echo": {"a": 1}}
        assert await ask(door, b'{"command":"echo"}\n') == {"ok": True, "echo": {}}
        refused = await ask(door, b'{"command":"echo","args":{"refuse":true}}\n')
        assert refused == {"ok": False, "error": "because it is so; ask otherwise"}

    play(folder, scene)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"command":"open"}\n', "knows no command open; there are echo"),
        (b"no json\n", "a command is a line of JSON"),
        (b'{"command":"echo","argh":{}}\n', "argh"),
        (b'{"command":"echo","args":[]}\n', "a command is a line of JSON"),
        (b'{"command":"' + b"x" * LINE_LIMIT_BYTES + b'"}\n', "a command is a line of JSON"),
    ],
)
def test_what_is_no_command_is_refused_with_words(folder: Path, line: bytes, words: str) -> None:
    async def scene(door: Door) -> None:
        said = await ask(door, line)
        assert not said["ok"]
        assert words in said["error"]

    play(folder, scene)


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_door(folder: Path) -> None:
    async def scene(door: Door) -> None:
        assert door.path == f"{folder}/fastproxy/{os.getpid()}.sock"
        assert stat.S_IMODE(os.stat(door.path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(f"{folder}/fastproxy").st_mode) == 0o700

    play(folder, scene)
    assert list((folder / "fastproxy").iterdir()) == []


def test_a_command_that_is_being_done_when_the_door_closes_is_told_so(folder: Path) -> None:
    async def scene(door: Door) -> None:
        begun = asyncio.Event()

        async def endless(asked: Asked) -> dict[str, Any]:
            begun.set()
            await asyncio.Event().wait()
            return {}

        door.register("endless", endless)
        asking = asyncio.create_task(ask(door, b'{"command":"endless"}\n'))
        await begun.wait()
        await door.close()
        assert await asking == {"ok": False, "error": "the proxy ends"}

    play(folder, scene)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_who_gets_to_the_socket_gets_no_word(folder: Path) -> None:
    places = (folder, folder / "fastproxy")

    async def scene(door: Door) -> None:
        for place in places:
            os.chmod(place, 0o755)
        os.chmod(door.path, 0o666)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-c", STRANGER, door.path, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate()
        assert said == b"no word\n"

    play(folder, scene)


def test_a_folder_that_others_can_write_to_is_passed_over(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "fastproxy").mkdir()
    (folder / "fastproxy").chmod(0o777)
    assert not is_private(folder / "fastproxy", os.geteuid())
    (folder / "tmp").mkdir()
    environ = {"XDG_RUNTIME_DIR": str(folder), "TMPDIR": str(folder / "tmp"), "RUNTIME_DIRECTORY": ""}

    async def scene() -> None:
        door = Door()
        await door.open(environ)
        assert Path(door.path).parent in (
            Path("/run/fastproxy"),
            folder / "tmp" / f"fastproxy-{os.geteuid()}",
        )
        await door.close()

    asyncio.run(scene())
    (folder / "link").symlink_to(folder / "tmp")
    assert not is_private(folder / "link", os.geteuid())
    assert is_private(folder / "tmp", os.geteuid())
    assert not is_private(folder / "tmp", os.geteuid() + 1)


def test_where_a_door_may_be() -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/in:/run/other", "XDG_RUNTIME_DIR": "/run/user/7", "TMPDIR": "/t"}
    wanted = ["/run/in", "/run/user/7/fastproxy", "/run/fastproxy", "/t/fastproxy-7"]
    assert folders(environ, 7) == [Path(folder) for folder in wanted]
    assert folders({"XDG_RUNTIME_DIR": "not/absolute"}, 7) == [
        Path("/run/fastproxy"), Path("/tmp/fastproxy-7")
    ]  # fmt: skip


def test_an_answer_to_somebody_who_is_gone_is_no_error() -> None:
    ends = socket.socketpair()
    ends[1].close()
    answer(ends[0].detach(), {"ok": True})
    ends = socket.socketpair()
    answer(ends[0].detach(), {"ok": True})
    assert ends[1].recv(100) == b'{"ok":true}\n'
    assert ends[1].recv(100) == b""
    ends[1].close()
