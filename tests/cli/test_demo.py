"""The demo as people run it: what it shows, when it fails, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.demo.eavesdropper import Eavesdropper, hex_lines
from fastproxy.demo.scene import Scene

DEMO = [sys.executable, "-m", "fastproxy", "demo"]
LIMIT_S = 50.0


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder), "TERM": "dumb"}


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DEMO, *arguments], env=environment(folder), capture_output=True, text=True, timeout=LIMIT_S
    )


def running_in(folder: Path) -> list[str]:
    """Command lines of all processes that name the folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if str(folder) in command:
            found.append(command)
    return found


def status_of(curl: str) -> str:
    """Run a curl command as it was printed, and return the status of the answer."""
    command = [*shlex.split(curl), "-s", "-o", "/dev/null", "-w", "%{http_code}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S).stdout


def section(output: str, number: int) -> str:
    """What was printed of one scene, its lines joined."""
    found = re.search(rf"^{number}\. .*?(?=^\d+\. |\Z)", output, re.MULTILINE | re.DOTALL)
    assert found is not None, output
    return " ".join(found.group().split())


def test_it_shows_every_scene(tmp_path: Path) -> None:
    result = run_demo(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    output = result.stdout
    assert result.stderr == ""
    assert "13 of 13 scenes went as they should." in output
    first = section(output, 1)
    for words in (
        "the caller sends POST /token_service/api/service param=hello C_ServiceName: song_service",
        "an eavesdropper sees a link: first a handshake, 138 bytes there, 67 back: fb 66 70 01",
        "then sealed records;",
        "in all of it no caller, service, path or content",
        "the service gets POST /api/service param=hello Fastproxy-Caller: song_service",
        'what comes back 200 {"service": "token_service", "caller": "song_service", "you_sent":',
    ):
        assert words in first
    assert "1 link for ten calls" in section(output, 2)
    for number, status, refused in (
        (3, 403, "the in proxy, phase privilege: no_privilege"),
        (4, 429, "the in proxy, phase rate: rate_limited"),
        (5, 504, "the out proxy, phase deadline: deadline_exceeded"),
        (7, 502, "the out proxy, phase wait: connection_lost"),
        (9, 502, "the out proxy, phase connect: link_refused"),
        (10, 502, "the out proxy, phase connect: link_refused"),
        (12, 401, "the in proxy, phase open: envelope_replayed"),
        (13, 401, "the in proxy, phase open: identity_unproven"),
    ):
        assert f"refused by {refused}" in section(output, number)
        assert str(status) in section(output, number)
    for number, who, metric, cause in (
        (6, "in proxy's", "links_ended", "record"),
        (7, "out proxy's", "links_ended", "record"),
        (8, "in proxy's", "link_handshake_failures", "record"),
        (9, "in proxy's", "link_handshake_failures", "unknown_caller"),
        (10, "impostor's", "link_handshake_failures", "mac"),
    ):
        assert f"{who} count fastproxy_{metric}, cause {cause}: 1 more" in section(output, number)
    restart = re.search(
        r"(\d+) answers, 0 of them no 200 .* (\d+) requests, 0 of them twice", section(output, 11)
    )
    assert restart is not None
    assert restart.group(1) == restart.group(2)
    assert int(restart.group(1)) >= 40
    old = section(output, 13)
    assert "POST /inProxy/token_service/api/service C_ServiceName: lobby_service and a message" in old
    assert "bytes again: 200, and the service gets them twice" in old
    assert max(len(line) for line in output.splitlines()) <= 100
    assert "\x1b" not in output
    assert list(tmp_path.iterdir()) == []
    assert running_in(tmp_path) == []


def test_it_fails_when_the_in_proxy_lets_pass_what_it_should_refuse(tmp_path: Path) -> None:
    result = run_demo(tmp_path, "--enforce", "report")
    assert result.returncode == 1
    assert "11 of 13 scenes went as they should." in result.stdout
    for number in (3, 4):
        assert "✗ not as it should be status: 200, and should be" in section(result.stdout, number)
    assert "what reached the services: 1, and should be 0" in section(result.stdout, 3)
    assert list(tmp_path.iterdir()) == []


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the demo; its output is to be read."""
    return subprocess.Popen(
        [*DEMO, *arguments],
        env=environment(folder),
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def printed_until(demo: subprocess.Popen[str], line_start: str) -> str:
    """Read what it prints up to a line that begins so."""
    assert demo.stdout is not None
    printed = ""
    for line in demo.stdout:
        printed += line
        if line.startswith(line_start):
            return printed
    raise AssertionError(printed)


def test_kept_running_it_can_be_tried_and_ends_without_a_trace(tmp_path: Path) -> None:
    with started(tmp_path, "--keep") as demo:
        printed = printed_until(demo, "Ctrl-C")
        assert len(running_in(tmp_path)) == 5
        commands = [line.strip() for line in printed.splitlines() if line.startswith("  curl ")]
        answers = [status_of(command) for command in commands]
        # Whether the rate is used up depends on how long ago the scene was.
        assert answers.pop(3) in ("200", "429")
        assert answers == ["200", "200", "403", "504", "502", "502", "200", "200", "200", "200", "200"]
        demo.send_signal(signal.SIGINT)
        assert demo.wait(LIMIT_S) == 0
    assert list(tmp_path.iterdir()) == []
    assert running_in(tmp_path) == []


def test_told_to_end_while_it_plays_it_leaves_no_trace(tmp_path: Path) -> None:
    with started(tmp_path, "--keep") as demo:  # so that it can't have ended by itself
        printed_until(demo, "1. ")
        assert running_in(tmp_path)
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(LIMIT_S) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
    assert running_in(tmp_path) == []


def test_a_scene_notes_what_is_otherwise_than_expected() -> None:
    scene = Scene("a title")
    scene.expect("status", 403, 403)
    assert scene.wrong == []
    scene.expect("status", 200, 403)
    assert scene.wrong == ["status: 200, and should be 403"]


@pytest.fixture
def in_proxy() -> Iterator[socket.socket]:
    """What stands behind the eavesdropper: a listening socket of the test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT_S)
        yield listener


@pytest.fixture
def spy(in_proxy: socket.socket) -> Iterator[Eavesdropper]:
    with Eavesdropper(in_proxy.getsockname()[1]) as eavesdropper:
        yield eavesdropper


def connect(spy: Eavesdropper) -> socket.socket:
    return socket.create_connection(("127.0.0.1", spy.port), LIMIT_S)


def test_the_eavesdropper_changes_one_bit_of_one_piece(spy: Eavesdropper, in_proxy: socket.socket) -> None:
    with connect(spy) as out_proxy, in_proxy.accept()[0] as inner:
        for sender, receiver, inward in ((out_proxy, inner, True), (inner, out_proxy, False)):
            spy.tamper_with_next(inward=inward)
            for received in (b"a recore", b"a record"):
                sender.sendall(b"a record")
                assert receiver.recv(100) == received
    assert [piece.inward for piece in spy.seen] == [True, True, False, False]
    assert spy.seen[0].data == b"a record"  # as it came, not as it went on


def test_the_eavesdropper_tells_connections_apart(spy: Eavesdropper, in_proxy: socket.socket) -> None:
    for said in (b"first", b"second"):
        with connect(spy) as out_proxy, in_proxy.accept()[0] as inner:
            out_proxy.sendall(said)
            assert inner.recv(100) == said
    assert [tuple(piece) for piece in spy.seen] == [(1, True, b"first"), (2, True, b"second")]


def test_a_connection_is_played_back_in_turn_with_its_answer(
    spy: Eavesdropper, in_proxy: socket.socket
) -> None:
    heard = []

    def answer() -> None:
        with in_proxy.accept()[0] as inner:
            heard.append(inner.recv(100))
            inner.sendall(b"answer")
            while data := inner.recv(100):
                heard.append(data)
                if b"".join(heard).endswith(b"bye"):
                    return

    answering = threading.Thread(target=answer)
    answering.start()
    assert spy.play_back_connection([b"hello", b"records, ", b"bye"]) == b"answer"
    answering.join()
    assert heard[0] == b"hello"  # nothing behind it before the answer
    assert b"".join(heard) == b"hellorecords, bye"


def test_hex_lines() -> None:
    assert hex_lines(b"FPV2\x00\xff" + bytes(40), 1) == [
        "46 50 56 32 00 ff 00 00 00 00 00 00 00 00 00 00  FPV2............"
    ]
    assert hex_lines(b"ab", 4) == ["61 62" + " " * 42 + "  ab"]
