"""`fastproxy call` through a real in proxy to a real service; no out proxy runs."""

from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from fastproxy.cli import main
from tests.e2e.proxies import ProxyProcess, endpoint_of, in_config, merged, out_config, write_key
from tests.e2e.services import Conversation, ScriptedService, sized

BYTES = bytes(range(256)) * 300
PROBLEM = sized(
    b'{"cause": "no_privilege"}', "Content-Type: application/problem+json", status="403 Forbidden"
)
ANSWERS = {
    "/bytes": sized(BYTES),
    "/missing": sized(b"no such page", status="404 Not Found"),
    "/problem": PROBLEM,
    "/steers": sized(b"", "X-Shown: \x9b31mred"),
    "/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this",
}


def service(conversation: Conversation) -> None:
    while True:
        path = conversation.request().start.split(" ")[1]
        conversation.send(ANSWERS.get(path, sized(b"a page")))
        if path == "/cut":
            return


class World(NamedTuple):
    """A folder with keys and out.yaml, an in proxy that runs, a service behind it."""

    folder: Path
    service: ScriptedService
    in_proxy: ProxyProcess

    def call(self, *arguments: str, stdin: bytes = b"", config: dict[str, Any] | None = None) -> Result:
        """Run the command. config: what differs in out.yaml."""
        receiver = write_key(self.folder, "in")
        plain = out_config({"api": [], "gone": []}, receiver, self.in_proxy_endpoint)
        file = self.folder / "out.yaml"
        file.write_text(json.dumps(merged(plain, config or {})))
        result = CliRunner().invoke(main, ["call", "--config", str(file), *arguments], input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    @property
    def in_proxy_endpoint(self) -> str:
        """Where the in proxy listens."""
        return endpoint_of(self.in_proxy.listen)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("call")
    keys = {name: write_key(folder, name) for name in ("web", "job", "in")}
    with ScriptedService(service) as api:
        config = in_config({"api": [api.endpoint]}, {name: keys[name] for name in ("web", "job")})
        config["privileges"] = [{"callers": ["*"], "services": ["api"], "methods": ["GET", "HEAD", "POST"]}]
        in_proxy = ProxyProcess(folder, config)
        try:
            yield World(folder, api, in_proxy.ready())
        finally:
            in_proxy.stop()


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    logger = logging.getLogger("fastproxy")
    level = logger.level
    yield
    logger.setLevel(level)


def test_the_answers_body_is_all_that_standard_output_gets(world: World) -> None:
    result = world.call("/api/bytes")
    assert (result.exit_code, result.stdout_bytes, result.stderr) == (0, BYTES, "")
    assert world.service.last.get("fastproxy-caller") == "web"


@pytest.mark.parametrize(
    ("url", "service_from", "host"),
    [
        ("/api/page?a=%41", "path", []),
        ("http://127.0.0.1:8034/api/page?a=%41", "path", []),
        ("http://api/page?a=%41", "path", []),
        ("http://api:80/page?a=%41", "host", []),
        ("/page?a=%41", "host", ["-H", "Host: api"]),
    ],
)
def test_a_url_means_what_it_means_to_a_running_out_proxy(
    world: World, url: str, service_from: str, host: list[str]
) -> None:
    listen = {"address": "127.0.0.1:8034", "service_from": service_from}
    result = world.call(url, *host, config={"listen": listen})
    assert (result.exit_code, result.stdout) == (0, "a page")
    assert world.service.last.start == "GET /page?a=%41 HTTP/1.1"


def test_method_headers_and_body_reach_the_service(world: World) -> None:
    result = world.call("-X", "GET", "-d", "a=1", "-H", "X-A: 1", "-H", "X-A:2", "-H", "X-B:", "/api/page")
    assert result.exit_code == 0
    got = world.service.last
    assert got.start == "GET /page HTTP/1.1"
    assert [field for field in got.fields if field[0].lower().startswith("x-a")] == [
        ("X-A", "1"),
        ("X-A", "2"),
    ]
    assert got.get("x-b") == ""
    assert got.body == b"a=1"


def test_a_body_comes_from_a_file_or_standard_input(world: World) -> None:
    (world.folder / "body").write_bytes(BYTES)
    for arguments, stdin in (([f"@{world.folder / 'body'}"], b""), (["-"], BYTES)):
        assert world.call("-d", *arguments, "/api/page", stdin=stdin).exit_code == 0
        assert world.service.last.start == "POST /page HTTP/1.1"
        assert world.service.last.body == BYTES


def test_a_body_over_the_limit_is_refused_as_by_a_running_proxy(world: World) -> None:
    before = len(world.service.requests)
    limits = {"limits": {"body_bytes": 1000}}
    assert world.call("-d", "-", "/api/page", stdin=BYTES[:1000], config=limits).exit_code == 0
    result = world.call("-d", "-", "/api/page", stdin=BYTES, config=limits)
    assert result.exit_code == 1
    assert "refused: body_too_large at the out proxy out, phase read" in result.stderr
    assert len(world.service.requests) == before + 1


def test_status_line_and_headers_come_before_the_body(world: World) -> None:
    result = world.call("-i", "/api/page")
    head, _, body = result.stdout_bytes.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nfastproxy-exchange: " in head
    assert body == b"a page"
    assert world.call("-i", "-X", "HEAD", "/api/page").stdout_bytes.endswith(b"\r\n\r\n")


def test_what_happened_is_told_phase_by_phase(world: World) -> None:
    result = world.call("-v", "-H", "Fastproxy-Timeout-Ms: 2500", "/api/page")
    assert (result.exit_code, result.stdout) == (0, "a page")
    told = dict(re.findall(r"^\*   (\S+(?: \S+)?) {2,}(.*)$", result.stderr, re.MULTILINE))
    line = world.in_proxy.access.wait_for(id=told["exchange"])
    assert (line["caller"], line["path"]) == ("web", "/page")
    assert told["caller"] == "web"
    assert told["service"] == "api, over http to receiver in"
    assert told["deadline"] == "2.500 s after the start"
    assert told["endpoint"] == f"{world.in_proxy_endpoint}, attempt 1"
    phases = [label for label in told if label.startswith("in ")]
    assert phases == [
        "in identify", "in route", "in deadline", "in connect", "in seal", "in wait", "in open", "in answer",
        "in all",
    ]  # fmt: skip
    spent_ms = [float(told[phase].split()[0]) for phase in phases]
    assert sum(spent_ms[:-1]) <= spent_ms[-1] + 0.01, "each is rounded to a microsecond"
    assert spent_ms[5] > 0
    assert "* < HTTP/1.1 200 OK\n" in result.stderr


def test_an_error_of_the_service_is_told_from_a_refusal_by_a_proxy(world: World) -> None:
    result = world.call("/api/missing")
    assert (result.exit_code, result.stdout, result.stderr) == (22, "no such page", "")
    result = world.call("/api/problem")  # which only looks like one
    assert (result.exit_code, result.stderr) == (22, "")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (
            ["-X", "DELETE", "/api/page"],
            [
                "refused: no_privilege at the in proxy in, phase privilege",
                "fastproxy explain",
                "in proxy's log",
            ],
        ),
        (
            ["/nothing/page"],
            ["refused: service_unknown at the out proxy out, phase route", "Compare the name"],
        ),
        (
            ["-H", "request_dead_time: 1", "/api/page"],
            ["failed: deadline_exceeded at the out proxy out, phase deadline"],
        ),
        (["/gone/page"], ["refused: service_unknown at the in proxy in, phase route"]),
    ],
)
def test_a_refusal_says_which_hop_and_phase_and_what_to_do(
    world: World, arguments: list[str], wanted: list[str]
) -> None:
    before = len(world.service.requests)
    result = world.call(*arguments)
    assert len(world.service.requests) == before
    assert result.exit_code == 1
    for words in wanted:
        assert words in result.stderr
    assert json.loads(result.stdout)["cause"] in wanted[0]


def test_an_in_proxy_that_is_gone(world: World) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and doesn't listen
        endpoint = f"127.0.0.1:{free.getsockname()[1]}"
        result = world.call("-v", "/api/page", config={"receivers": {"in": {"endpoints": [endpoint]}}})
    assert result.exit_code == 1
    assert "failed: connect_refused at the out proxy out, phase connect" in result.stderr
    assert f"endpoint    {endpoint}, attempt 1" in result.stderr


def test_an_answer_that_breaks_off_is_no_success(world: World) -> None:
    result = world.call("/api/cut")
    assert (result.exit_code, result.stdout) == (1, "only this")
    assert "failed: " in result.stderr


def test_who_calls_where_requests_may_say_so(world: World) -> None:
    names = {name: {"private_key": {"file": f"{name}.key"}} for name in ("web", "job")}
    callers = {"caller": None, "private_key": None, "callers": {"header": "X-Caller", "names": names}}
    assert world.call("--caller", "job", "/api/page", config=callers).exit_code == 0
    assert world.service.last.get("fastproxy-caller") == "job"
    assert world.service.last.get("x-caller") == ""
    for arguments in ([], ["--caller", "nobody"]):
        result = world.call(*arguments, "/api/page", config=callers)
        assert result.exit_code == 1
        assert "refused: caller_unknown at the out proxy out, phase identify" in result.stderr
    assert world.call("--caller", "web", "/api/page").exit_code == 0
    assert world.call("--caller", "job", "/api/page").exit_code == 2


def test_it_needs_no_listener_and_leaves_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        taken = [{"address": endpoint_of(sock.getsockname())} for sock in (one, other)]
        result = world.call("/api/page", config={"listen": taken[0], "admin": taken[1]})
        assert (result.exit_code, result.stdout) == (0, "a page")
    for_others = {"address": f"unix:{tmp_path}/out.sock", "allowed_uids": [4_000_000]}
    assert world.call("/api/page", config={"listen": for_others}).exit_code == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-H", "Authorization Bearer of-secret", "/api/page"], "no header"),
        (["-H", "A: 1\r\nB: 2", "/api/page"], "no header"),
        (["-H", "Content-Length: 1", "/api/page"], "leave it out"),
        (["-X", "G T", "/api/page"], "no method"),
        (["-d", "@/nowhere/at/all", "/api/page"], "can't be read"),
        (["ftp://api/page"], "not a URL"),
        (["api/page"], "not a URL"),
    ],
)
def test_a_command_that_makes_no_sense(world: World, arguments: list[str], words: str) -> None:
    before = len(world.service.requests)
    result = world.call(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "of-secret" not in result.stderr
    assert len(world.service.requests) == before


def test_nothing_that_a_service_says_steers_the_terminal(world: World) -> None:
    told = world.call("-v", "/api/steers").stderr
    assert "* < x-shown: \\x9b31mred\n" in told.lower()
    assert told.replace("\n", "").isprintable()


def test_nothing_of_the_request_but_its_target_is_told(world: World) -> None:
    """What is told lands in tickets and build logs."""
    secrets = ["-H", "Authorization: Bearer of-secret", "-H", "Cookie: of-secret", "-d", "of-secret"]
    for target in ("/api/page?token=of-secret", "/nothing/page?token=of-secret"):
        assert "of-secret" not in world.call("-v", *secrets, target).stderr
    assert "Bearer of-secret" in world.service.last.get("authorization")


def test_a_config_that_cant_be_used(world: World) -> None:
    result = world.call("/api/page", config={"listne": {}})
    assert result.exit_code == 2
    assert "listne" in result.stderr
    in_yaml = str(world.in_proxy.file)
    assert CliRunner().invoke(main, ["call", "--config", in_yaml, "/api/page"]).exit_code == 2


def test_as_a_program(world: World) -> None:
    world.call("/api/page")  # writes out.yaml, the default
    command = [sys.executable, "-m", "fastproxy", "call", "/api/bytes"]
    finished = subprocess.run(command, cwd=world.folder, capture_output=True)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, BYTES, b"")
