"""Proxies as real processes: `fastproxy run FILE`, told by config files and known by what they print.

Nothing here looks inside a proxy: its addresses come from the log line `ready`, the rest from its answers,
its metrics, its logs and its exit code.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from fastproxy.wire.identity import PrivateKey
from tests.e2e.client import Address, Answer, fetch
from tests.e2e.worker_processes import workers_of

Config = dict[str, Any]
Line = dict[str, Any]

_STOP_S = 30.0
_LINE_S = 30.0


class LineFeed:
    """The lines of JSON that a process writes, as they come; what is no JSON stands under "text"."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.lines: list[Line] = []
        self._pipe = pipe
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for raw in self._pipe:
            try:
                line = json.loads(raw)
            except ValueError:
                line = {"text": raw.decode(errors="replace")}
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def find(self, **wanted: Any) -> list[Line]:
        """Return the lines so far in which these fields have these values."""
        with self._changed:
            return [line for line in self.lines if line.items() >= wanted.items()]

    def wait_for(self, **wanted: Any) -> Line:
        """Return the first line in which these fields have these values, waiting for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or bool(self.find(**wanted)), _LINE_S)
        found = self.find(**wanted)
        assert found, f"no line with {wanted}; the last ones are {self.lines[-3:]}"
        return found[0]

    def wait_for_more(self, count: int, **wanted: Any) -> Line:
        """Return the first such line after so many, waiting for it."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self.find(**wanted)) > count, _LINE_S)
        found = self.find(**wanted)
        assert len(found) > count, f"no more lines with {wanted}; the last ones are {self.lines[-3:]}"
        return found[count]

    def wait_for_lines(self, count: int, **wanted: Any) -> list[Line]:
        """Return the lines in which these fields have these values, waiting until there are so many."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self.find(**wanted)) >= count, _LINE_S)
        found = self.find(**wanted)
        assert len(found) >= count, f"{len(found)} lines with {wanted}; the last ones are {self.lines[-3:]}"
        return found

    def close(self) -> None:
        """Wait for the end of the stream, which comes with that of the process."""
        self._thread.join(_STOP_S)
        self._pipe.close()


class Samples:
    """What `/metrics` said at one moment."""

    def __init__(self, text: str) -> None:
        families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        self._samples = [sample for family in families for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """Sum of all samples of this name that have these labels."""
        return float(
            sum(
                sample.value
                for sample in self._samples
                if sample.name == name and sample.labels.items() >= labels.items()
            )
        )

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """The samples of this name, by the value that this label has."""
        return {sample.labels[label]: sample.value for sample in self._samples if sample.name == name}

    def series(self) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        """Which series there are: names, each with its labels in order."""
        return {(sample.name, tuple(sorted(sample.labels.items()))) for sample in self._samples}

    def refusals(self, cause: str) -> float:
        """How often this cause was counted."""
        return self.total("fastproxy_refusals_total", cause=cause)


class ProxyProcess:
    """One running proxy.

    Args:
        folder: for its config file; keys lie there already.
        config: what the file says. `listen` and `admin` may have port 0.
        first: what a shell does before it becomes the proxy, such as setting a limit.
    """

    def __init__(self, folder: Path, config: Config, first: str = "true") -> None:
        self.config = config
        self.file = folder / f"{config['name']}.yaml"
        self.file.write_text(json.dumps(config, indent=1))  # JSON is YAML
        self._process = subprocess.Popen(
            [
                "sh",
                "-c",
                f'{first}; exec "$@"',
                "sh",
                sys.executable,
                "-m",
                "fastproxy",
                "run",
                str(self.file),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.access = LineFeed(self._process.stdout)
        self.log = LineFeed(self._process.stderr)
        self.pid = self._process.pid
        self._told = False
        self.listen: Address = ""
        self.admin: Address = ""

    def ready(self) -> Self:
        """Wait until it takes connections, and learn its addresses."""
        line = self.log.wait_for(message="ready")
        self.listen = address_of(line["listen"])
        self.admin = address_of(line["admin"])
        return self

    @property
    def worker(self) -> int:
        """The process of its only worker."""
        (pid,) = workers_of(self.pid)
        return pid

    def kill(self) -> None:
        """End it at once with its workers, if it still runs."""
        workers = workers_of(self.pid) if self._process.poll() is None else []
        self._process.kill()
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()

    def probe(self, path: str) -> Answer:
        """Ask the admin address."""
        return fetch(self.admin, "GET", path, host="localhost")

    def metrics(self) -> Samples:
        """Scrape the metrics."""
        answer = self.probe("/metrics")
        assert answer.status == 200
        return Samples(answer.body.decode())

    def wait_for_gauge(self, name: str, value: float, **labels: str) -> None:
        """Scrape until this gauge has this value; the test's time limit bounds it."""
        while self.metrics().total(name, **labels) != value:
            pass

    def wait_for_count(self, cause: str, count: float) -> None:
        """Scrape until a cause was counted so often, which is when its exchange is over, and no oftener."""
        while (counted := self.metrics().refusals(cause)) < count:
            pass
        assert counted == count

    def memory_bytes(self, row: str) -> int:
        """A row of its only worker's /proc/PID/status: VmRSS for resident memory now, VmHWM for its peak."""
        return memory_bytes(self.worker, row)

    def begin_peak(self) -> int:
        """Forget the peak of its only worker's memory so far; return what is resident there now."""
        Path(f"/proc/{self.worker}/clear_refs").write_text("5")
        return self.memory_bytes("VmRSS")

    def write(self, changes: Config) -> None:
        """Change its config file, which has all of the old or all of the new content at any time."""
        self.config = merged(self.config, changes)
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(self.config, indent=1))
        new.replace(self.file)

    def reload(self, changes: Config, *, message: str = "reloaded") -> Line:
        """Change its config file, have it read again, and return what the log says of that.

        Args:
            changes: against what the file says. message: of the line.
        """
        self.write(changes)
        before = len(self.log.find(message=message))
        self._process.send_signal(signal.SIGHUP)
        return self.log.wait_for_more(before, message=message)

    def reload_unseen(self) -> None:
        """Have its config file read again, whatever comes of it."""
        self._process.send_signal(signal.SIGHUP)

    def signal(self) -> None:
        """Tell it to stop, once and without waiting."""
        if not self._told:
            self._told = True
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        code = self._process.wait(_STOP_S)
        self.access.close()
        self.log.close()
        return code

    def stop(self) -> None:
        """Let it drain, and check that it went well all along."""
        self.signal()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        assert code == 0
        bad = [line for line in self.log.lines if self._is_bad(line)]
        assert not bad, bad

    def _is_bad(self, line: Line) -> bool:
        """Whether it tells of a mistake of the proxy's own. Warnings about the config come as text."""
        if "text" in line:
            return not line["text"].startswith(f"{self.file}:")
        return line["level"] in ("error", "critical")


def memory_bytes(pid: int, row: str) -> int:
    """A row of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == row:
            return int(value.split()[0]) * 1024
    raise AssertionError(row)


class Pair:
    """An out proxy and an in proxy that know each other.

    Args:
        folder: for keys and configs.
        services: name to endpoints, as the in proxy knows them.
        out, inner: settings of the out and the in proxy that differ from the plain ones, merged in depth.
        between: given the in proxy's address, returns what the out proxy connects to instead.
        inner_first: as `first` of the in proxy's process.
    """

    def __init__(
        self,
        folder: Path,
        services: Mapping[str, Sequence[str]],
        *,
        out: Config | None = None,
        inner: Config | None = None,
        between: Callable[[Address], str] | None = None,
        inner_first: str = "true",
    ) -> None:
        self.folder = folder
        self.caller_key = write_key(folder, "web")
        self.receiver_key = write_key(folder, "in")
        config = in_config(services, {"web": self.caller_key})
        self._reserved = ExitStack()
        # Known in advance, so that both can start at a time; kept for an in proxy that starts again.
        port = self._reserved.enter_context(reserved_port())
        config["listen"] = {"address": f"127.0.0.1:{port}"}
        config = merged(config, inner or {})
        address = address_of(config["listen"]["address"])
        endpoint = between(address) if between else endpoint_of(address)
        self.inner = ProxyProcess(folder, config, inner_first)
        config = out_config(services, self.receiver_key, endpoint)
        self.out = ProxyProcess(folder, merged(config, out or {}))
        try:
            self.inner.ready()
            self.out.ready()
        except BaseException:
            self.inner.kill()
            self.out.kill()
            self._reserved.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.out.signal()
        self.inner.signal()
        with self._reserved:
            try:
                self.out.stop()
            finally:
                self.inner.stop()

    @property
    def address(self) -> Address:
        """Where callers connect."""
        return self.out.listen

    def fetch(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: list[str] | tuple[str, ...] = (),
    ) -> Answer:
        """Make one request of a caller on a connection of its own."""
        return fetch(self.address, method, target, body, headers)

    def restart_inner(self) -> None:
        """Replace the in proxy by a new process at the same address."""
        self.inner.stop()
        config = merged(self.inner.config, {"listen": {"address": endpoint_of(self.inner.listen)}})
        self.inner = ProxyProcess(self.folder, config).ready()


def key_of(name: str) -> PrivateKey:
    """The key of this name, in every test the same."""
    return PrivateKey(name.encode().ljust(32, b"."))


def write_key(folder: Path, name: str) -> PrivateKey:
    """Write the file of a key."""
    key = key_of(name)
    file = folder / f"{name}.key"
    file.write_text(key.reveal() + "\n")
    file.chmod(0o600)
    return key


def in_config(services: Mapping[str, Sequence[str]], callers: Mapping[str, PrivateKey]) -> Config:
    """The plain config of an in proxy that lets its callers call everything."""
    return {
        "role": "in",
        "name": "in",
        "listen": {"address": "127.0.0.1:0"},
        "private_key": {"file": "in.key"},
        "callers": {name: {"public_keys": [key.public_key.hex()]} for name, key in callers.items()},
        "services": {name: {"endpoints": list(endpoints)} for name, endpoints in services.items()},
        "privileges": [{"callers": ["*"], "services": ["*"]}],
        "admin": {"address": "127.0.0.1:0"},
        "drain": {"grace_s": 1},
        "workers": 1,
    }


def out_config(services: Mapping[str, Sequence[str]], receiver_key: PrivateKey, endpoint: str) -> Config:
    """The plain config of an out proxy for one caller."""
    receiver = {"public_keys": [receiver_key.public_key.hex()], "endpoints": [endpoint]}
    return {
        "role": "out",
        "name": "out",
        "listen": {"address": "127.0.0.1:0"},
        "caller": "web",
        "private_key": {"file": "web.key"},
        "receivers": {"in": receiver},
        "defaults": {"transport": "http", "receiver": "in"},
        "services": {name: {} for name in services},
        "admin": {"address": "127.0.0.1:0"},
        "drain": {"grace_s": 1},
        "workers": 1,
    }


def merged(config: Config, changes: Config) -> Config:
    """Lay changes over a config, in depth; None takes a setting out."""
    result = dict(config)
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = merged(result[name], value)
        else:
            result[name] = value
    return result


def endpoint_of(address: Address) -> str:
    """An address as configs write it."""
    return f"unix:{address}" if isinstance(address, str) else f"{address[0]}:{address[1]}"


@contextmanager
def reserved_port() -> Iterator[int]:
    """A free port that nobody else gets meanwhile. Whoever sets SO_REUSEADDR can still listen there."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # At every address: who took the port at another one would be in the way of a listener at all of them.
        sock.bind(("0.0.0.0", 0))
        yield sock.getsockname()[1]


def address_of(text: str) -> Address:
    """The address that a config or a log line writes."""
    if text.startswith("unix:"):
        return text.removeprefix("unix:")
    host, _, port = text.rpartition(":")
    return host, int(port)
