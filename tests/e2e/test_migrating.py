"""The page `docs/migrating.md` is carried out as it stands, while callers keep calling.

Its commands, its config files and the order of its steps are taken from the page; only the ports become free
ones. Where the page says that an address is turned over, a relay on that address does it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from fastproxy.demo.sample_services import SampleService
from fastproxy.wire.compat.keys import EncryptKey, SignKey
from fastproxy.wire.compat.sealing import CompatCaller, CompatReceiver, CompatSender
from tests.e2e.original import CONTEXT_PATH, Listener, OriginalInProxy, OriginalOutProxy, Reply, post
from tests.e2e.proxies import reserved_port

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "migrating.md").read_text()
PORTS = re.compile(r"\b(?:80[3-6][34]|900[12])\b")
OLD_OUT, OLD_IN = "the original's out proxy", "the original's in proxy"
GZIP_ID, SNAPPY_ID = 1, 0
SIGN = SignKey("sign.key.room.v1", b"abcd")
ENCRYPT = EncryptKey("encrypt.key.room.v2", b"ABCDABCDABCDABCD")
CALLS = {"song_service": "/token_service/api/service", "chat_service": "/search_service/api/service"}
CONTENT = b"param=hello"
PAUSE_S = 0.12
"""Between two calls, so that neither caller gets over the 10 per second that song_service may make."""
LIMIT_S = 20


class Turnover:
    """An address that is turned over: new connections lead to another port, open ones stay where they are."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.leads_to = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:  # shut down
                return
            try:
                proxy = socket.create_connection(("127.0.0.1", self.leads_to))
            except OSError:  # nobody listens there
                caller.close()
                continue
            threading.Thread(target=_relay, args=(caller, proxy), daemon=True).start()


def _relay(caller: socket.socket, proxy: socket.socket) -> None:
    with caller, proxy:
        back = threading.Thread(target=_pass_on, args=(proxy, caller))
        back.start()
        _pass_on(caller, proxy)
        back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):  # reset, or gone
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


class Callers:
    """Both callers of the example, calling all the time. failures: what was no success."""

    def __init__(self, port: int) -> None:
        self.failures: list[str] = []
        self._port = port
        self._count = 0
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def wait_for_round(self) -> None:
        """Wait until both have made a call that began after now."""
        with self._changed:
            enough = self._count + 2  # one round may be under way
            assert self._changed.wait_for(lambda: self._count >= enough, LIMIT_S)

    def _run(self) -> None:
        while not self._ended.wait(PAUSE_S):
            for caller, target in CALLS.items():
                self._call(caller, target)
            with self._changed:
                self._count += 1
                self._changed.notify_all()

    def _call(self, caller: str, target: str) -> None:
        try:
            status, content = post(self._port, target, caller, CONTENT)
        except (OSError, ValueError) as error:
            self.failures.append(f"{caller}: {error!r}")
            return
        if status != 200 or json.loads(content)["you_sent"] != CONTENT.decode():
            self.failures.append(f"{caller}: {status} {content!r}")


class Site:
    """A folder in which the steps of the page are carried out, and all that runs there.

    Args:
        folder: where. ports: what is there in place of each port of the page.
        settle: returns when all that was on its way to an address before it was turned over has arrived.
    """

    def __init__(self, folder: Path, ports: Mapping[str, int], settle: Callable[[], None]) -> None:
        self.folder = folder
        self.ports = ports
        self._settle = settle
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._addresses: dict[str, Turnover] = {}
        self._doubles: dict[str, OriginalOutProxy | OriginalInProxy] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()

    def add(
        self, port: str, address: Turnover, name: str, double: OriginalOutProxy | OriginalInProxy
    ) -> None:
        """Add a double and the address, as the page calls it, that leads to it."""
        address.leads_to = double.port
        self._addresses[port] = address
        self._doubles[name] = double

    def carry_out(self, language: str, text: str) -> None:
        """Carry out one block of the page."""
        if language == "yaml":
            name = text.removeprefix("# ").partition("\n")[0]
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(self._with_ports(text))
            return
        script: list[str] = []
        for line in text.splitlines():
            words = line.split()
            if line.startswith("fastproxy run "):
                self._run(script)
                self._start(words[2])
            elif line.startswith("# turn "):
                self._run(script)
                self._addresses[words[2]].leads_to = self.ports[words[5]]
            elif line.startswith("# stop "):
                self._run(script)
                self._stop(line.removeprefix("# stop "))
            else:
                script.append(line)
        self._run(script)

    def _run(self, script: list[str]) -> None:
        """Run the commands gathered so far, each of which has to succeed."""
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = ["sh", "-e", "-c", self._with_ports("\n".join(script))]
        finished = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S
        )
        assert finished.returncode == 0, (script, finished.stdout, finished.stderr)
        script.clear()

    def _start(self, file: str) -> None:
        log = self.folder / file.replace("/", "-").replace(".yaml", ".log")
        command = [sys.executable, "-m", "fastproxy", "run", str(self.folder / file)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        self._running[file] = process
        while '"ready"' not in log.read_text():
            assert process.poll() is None, log.read_text()

    def _stop(self, name: str) -> None:
        self._settle()  # what still lies unread at a port when its process closes it is lost
        if name in self._doubles:
            self._doubles[name].stop()
            return
        process = self._running.pop(name)
        process.terminate()
        assert process.wait(LIMIT_S) == 0

    def _with_ports(self, text: str) -> str:
        return PORTS.sub(lambda port: str(self.ports[port[0]]), text)


def steps() -> dict[str, list[tuple[str, str]]]:
    """The blocks of each numbered section of the page, with their languages."""
    sections = re.split(r"^## (?=\d)", PAGE, flags=re.MULTILINE)[1:]
    return {
        section.partition("\n")[0]: re.findall(
            r"^```(sh|yaml)\n(.*?)\n```", section, re.MULTILINE | re.DOTALL
        )
        for section in sections
    }


@pytest.fixture
def services() -> Iterator[tuple[SampleService, SampleService]]:
    with SampleService("token_service") as token, SampleService("search_service") as search:
        yield token, search


def write_old_configs(folder: Path, ports: Mapping[str, int]) -> None:
    """Write the original's example, with ports that are free here, into the folder `old`."""
    (folder / "old").mkdir()
    for role in ("out", "in"):
        text = (ROOT / "tests" / "data" / f"fast_proxy_{role}.yaml").read_text()
        text = PORTS.sub(lambda port: str(ports.get(port[0], port[0])), text)
        (folder / "old" / f"{role}.yaml").write_text(text)


def senders() -> dict[str, CompatSender]:
    return {
        "song_service": CompatSender(SIGN, ENCRYPT, GZIP_ID),
        "chat_service": CompatSender(SIGN, ENCRYPT, SNAPPY_ID),
    }


@pytest.mark.timeout(300)
def test_from_two_proxies_of_the_original_to_two_of_ours_without_an_outage(
    tmp_path: Path, services: tuple[SampleService, SampleService]
) -> None:
    with ExitStack() as stack:
        out_address, in_address = (stack.enter_context(Turnover()) for _ in range(2))
        names = sorted(set(PORTS.findall(PAGE)) - {"8033", "8034", "9001", "9002"})
        ports = {name: stack.enter_context(reserved_port()) for name in names}
        ports |= {"8034": out_address.port, "8033": in_address.port}
        ports |= {"9001": services[0].port, "9002": services[1].port}
        callers = Callers(out_address.port)
        site = stack.enter_context(Site(tmp_path, ports, callers.wait_for_round))
        receiver = CompatReceiver([CompatCaller(name, (SIGN,), (ENCRYPT,)) for name in CALLS])
        by_name = {service.name: service.port for service in services}
        old_in = stack.enter_context(OriginalInProxy(receiver, by_name))
        old_out = stack.enter_context(OriginalOutProxy(senders(), in_address.port))
        site.add("8033", in_address, OLD_IN, old_in)
        site.add("8034", out_address, OLD_OUT, old_out)
        write_old_configs(tmp_path, ports)
        stack.enter_context(callers)
        proofs = {"2": "8043", "4": "8053", "6": "8063"}  # in proxies, and the step that starts each
        callers.wait_for_round()
        for title, blocks in steps().items():
            for block in blocks:
                site.carry_out(*block)
            callers.wait_for_round()
            assert not callers.failures, (title, callers.failures)
            if title[0] in proofs:
                assert v1_statuses(ports[proofs[title[0]]]) == V1_STATUSES[title[0]], title
        seen = {request.caller for service in services for request in service.got}
    assert seen == {"", "song_service", "chat_service"}  # "" from the double, which names nobody to services
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["link", "old"]


V1_STATUSES = {
    "2": {"song_service": 200, "chat_service": 200},
    "4": {"song_service": 401, "chat_service": 200},  # it has an identity now
    "6": {"song_service": 404, "chat_service": 404},
}
"""What each caller gets for a message of the original, at the in proxy that this step starts."""


def v1_statuses(port: int) -> dict[str, int]:
    return {
        caller: post(port, CONTEXT_PATH + CALLS[caller], caller, sender.seal(CONTENT)).status
        for caller, sender in senders().items()
    }


MIGRATE = """\
fastproxy migrate old/out.yaml old/in.yaml -d new --transport {transport} \
    --service token_service=127.0.0.1:9001 --service search_service=127.0.0.1:9002
fastproxy run new/in.yaml &
fastproxy run new/out.yaml &"""


@pytest.mark.parametrize("transport", ["compat", "http"])
def test_run_takes_the_result_as_it_stands_on_the_old_ports(
    tmp_path: Path, services: tuple[SampleService, SampleService], transport: str
) -> None:
    with ExitStack() as stack:
        ports = {port: stack.enter_context(reserved_port()) for port in ("8033", "8034")}
        ports |= {"9001": services[0].port, "9002": services[1].port}
        write_old_configs(tmp_path, ports)
        site = stack.enter_context(Site(tmp_path, ports, lambda: None))
        site.carry_out("sh", MIGRATE.format(transport=transport))
        for caller, target in CALLS.items():
            status, content = post(ports["8034"], target, caller, CONTENT)
            assert (status, json.loads(content)["caller"]) == (200, caller)
        others = {"song_service": CALLS["chat_service"], "chat_service": CALLS["song_service"]}
        for caller, target in others.items():
            assert post(ports["8034"], target, caller, CONTENT).status == 403, "it has no such privilege"
        assert post(ports["8034"], CALLS["song_service"], "nobody", CONTENT).status == 401
        v1 = 200 if transport == "compat" else 404
        assert v1_statuses(ports["8033"]) == dict.fromkeys(CALLS, v1), "what the original's out proxy gets"
    assert [len(service.got) for service in services] == [2 if transport == "compat" else 1] * 2


def test_an_out_proxy_of_ours_calls_the_original_so_that_either_side_can_move_first(
    tmp_path: Path, services: tuple[SampleService, SampleService]
) -> None:
    receiver = CompatReceiver([CompatCaller(name, (SIGN,), (ENCRYPT,)) for name in CALLS])
    with OriginalInProxy(receiver, {service.name: service.port for service in services}) as old_in:
        (tmp_path / "old.yaml").write_text(
            (ROOT / "tests" / "data" / "fast_proxy_out.yaml").read_text().replace("8033", str(old_in.port))
        )
        services_here = ["--service", "token_service", "--service", "search_service"]
        commands = [["migrate", "old.yaml", "--transport", "compat", *services_here]]
        for caller, target in CALLS.items():
            commands.append(["call", "--caller", caller, "-d", CONTENT.decode(), target])
        for command in commands:
            fastproxy = [sys.executable, "-m", "fastproxy", *command]
            subprocess.run(fastproxy, cwd=tmp_path, check=True, timeout=LIMIT_S, stdout=subprocess.DEVNULL)
    assert [got.body for service in services for got in service.got] == [CONTENT.decode()] * 2


def test_the_page_has_the_six_steps_and_every_block_is_one_that_is_carried_out() -> None:
    assert [title[0] for title in steps()] == ["1", "2", "3", "4", "5", "6"]
    blocks = [block for found in steps().values() for block in found]
    assert len(blocks) == PAGE.count("```") // 2


def test_the_doubles_speak_as_it_was_recorded() -> None:
    recorded = json.loads((ROOT / "tests" / "data" / "fast_proxy_v1.json").read_text())
    sign = SignKey("s1", recorded["keys"]["sign_keys"]["s1"].encode())
    encrypt = EncryptKey("k128", recorded["keys"]["encrypt_keys"]["k128"].encode())
    caller = "c_all_128"
    exchanges = [exchange for exchange in recorded["exchanges"] if exchange["caller"] == caller]
    assert len(exchanges) >= 3

    def echo(path: str, caller: str, content: bytes) -> Reply:
        assert path == "/api/service"
        return Reply(200, b"echo:" + content)

    receiver = CompatReceiver([CompatCaller(caller, (sign,), (encrypt,))])
    with (
        Listener(echo) as service,
        OriginalInProxy(receiver, {"echo_service": service.port}) as old_in,
        OriginalOutProxy({caller: CompatSender(sign, encrypt, SNAPPY_ID)}, old_in.port) as old_out,
    ):
        for exchange in exchanges:
            sent, wire_request, wire_response, got = (
                base64.b64decode(exchange[name])
                for name in ("request_body", "wire_request", "wire_response", "client_body")
            )
            assert post(old_out.port, "/echo_service/api/service", caller, sent) == (200, got)
            assert old_out.requests[-1] == wire_request
            assert post(old_in.port, exchange["wire_path"], caller, wire_request) == (200, wire_response)
