"""What every scenario plays on: callers under load, proxies of two workers each, a service that remembers.

    load ──▶ out proxy ══link and http══▶ in proxy ──▶ service

All are processes of their own, on loopback. What was counted at the end is a `Row`; that a proxy has ended
well and made no mistake of its own on the way is checked here, for all scenarios alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec import Struct

from tests.e2e.operations.programs import Failure, Load, Service
from tests.e2e.programs import wait_until
from tests.e2e.proxies import (
    Config,
    Line,
    ProxyProcess,
    endpoint_of,
    in_config,
    key_of,
    merged,
    out_config,
    reserved_port,
    write_key,
)

BOTH = ("over_link", "over_http")
"""Services by the way between the proxies that leads to them."""
LINK, HTTP = BOTH[:1], BOTH[1:]
SLOW_S = 0.3
WORKER_HAS_ENDED = "a worker has ended; another takes its place"

_PLAIN: Config = {
    "workers": 2,
    "log": {"access": "off"},
    "drain": {"grace_s": 45, "idle_s": 5},
    # What is looked for are requests that are lost. That a machine stands still for seconds, since it has
    # much else to do, is not to be taken for that.
    "defaults": {"timeout_s": 50, "connect_timeout_s": 20},
    "worker_hang_s": 60,
    "link": {"handshake_timeout_s": 30},
    # More than the load has under way at most, for the same reason.
    "limits": {"waiting_per_endpoint": 10_000},
}


class Row(Struct, frozen=True):
    """What was counted in one scenario.

    count: how often it did what it is about. rate_per_s: of the requests. doubled: requests that the service
    got more than once. missing: answered requests that it never got. held_back: due, but not made, since too
    many were under way. p99_ms: of those answered at once. note: what else there is to say.
    """

    scenario: str
    count: int
    requests: int
    failed: int
    doubled: int
    missing: int
    held_back: int
    seconds: float
    rate_per_s: int
    p99_ms: float
    failures: list[Failure]
    note: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether each request was answered as it should be, and was made once."""
        return not (self.failed or self.doubled or self.missing or self.failures)


class Scale(Struct, frozen=True):
    """How large a scenario is. count: how often. rate_per_s: of requests. seconds: the load's time limit."""

    count: int
    rate_per_s: float
    seconds: float


class Stage:
    """Proxies, the service behind them and the load before them; the load begins with `begin`.

    service: behind the in proxies. load: once it has begun. outs, inners: the proxies, in a role all alike.
    callers: folder of public keys that the in proxies go by.

    Args:
        folder: for configs and keys. scale: of the load. services: which are called.
        out, inner: settings that differ from the plain ones. outs, inners: how many proxies of each role.
    """

    def __init__(
        self,
        folder: Path,
        scale: Scale,
        *,
        services: Sequence[str] = BOTH,
        out: Config | None = None,
        inner: Config | None = None,
        outs: int = 1,
        inners: int = 1,
    ) -> None:
        self._scale = scale
        self._services = services
        self._allowed: set[str] = set()
        self._stack = ExitStack()
        try:
            self.service = Service()
            self._stack.callback(self.service.kill)
            ports = [self._stack.enter_context(reserved_port()) for _ in range(inners)]
            self.callers = folder / "callers"
            self.callers.mkdir()
            self.publish(key_of("web").public_key.hex() + "\n")
            plain = in_config({name: [self.service.endpoint] for name in services}, {})
            plain["callers_dir"] = str(self.callers)
            self.inners = [
                self._start(
                    folder / f"in-{port}",
                    merged(plain, {"listen": {"address": f"127.0.0.1:{port}"}}),
                    inner or {},
                )
                for port in ports
            ]
            plain = out_config(dict.fromkeys(services, ()), key_of("in"), "")
            plain["receivers"]["in"]["endpoints"] = [endpoint_of(inner.listen) for inner in self.inners]
            plain["services"] = {name: {"transport": name.removeprefix("over_")} for name in services}
            self.outs = [self._start(folder / f"out-{number}", plain, out or {}) for number in range(outs)]
        except BaseException:
            self._stack.close()
            raise

    def _start(self, folder: Path, plain: Config, changes: Config) -> ProxyProcess:
        folder.mkdir()
        for name in ("web", "in"):
            write_key(folder, name)
        proxy = ProxyProcess(folder, merged(merged(plain, _PLAIN), changes))
        self._stack.callback(proxy.kill)
        return proxy.ready()

    @property
    def out(self) -> ProxyProcess:
        """The out proxy that callers try first."""
        return self.outs[0]

    @property
    def inner(self) -> ProxyProcess:
        """The first in proxy."""
        return self.inners[0]

    @property
    def proxies(self) -> list[ProxyProcess]:
        """All proxies."""
        return [*self.outs, *self.inners]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def publish(self, keys: str) -> None:
        """Have in proxies know the caller by these public keys, a line each."""
        new = self.callers / "web.new"
        new.write_text(keys)
        new.rename(self.callers / "web.pub")

    def begin(self) -> Load:
        """Have the load begin; return it when it is under way."""
        addresses = [endpoint_of(out.listen) for out in self.outs]
        self.load = Load(
            addresses, self._services, self._scale.rate_per_s, SLOW_S, seconds=self._scale.seconds
        )
        self._stack.callback(self.load.kill)
        self.load.wait_for_more(int(self._scale.rate_per_s / 4))
        return self.load

    def restart_inner(self, number: int) -> ProxyProcess:
        """Have another in proxy begin in place of one that ends, once it has; return it."""
        former = self.inners[number]
        former.stop()
        self.inners[number] = ProxyProcess(former.file.parent, former.config)
        self._stack.callback(self.inners[number].kill)
        wait_until(lambda: bool(self.inners[number].log.find(message="ready")))  # it may take long under load
        return self.inners[number].ready()

    def allow(self, message: str) -> None:
        """Have proxies say this without it being held against them."""
        self._allowed.add(message)

    def end(self, scenario: str) -> Row:
        """End the load, the proxies and the service; return what was counted.

        Raises:
            AssertionError: a proxy hasn't ended well, or has logged an error.
        """
        report = self.load.end()
        for proxy in self.proxies:
            proxy.signal()
        ends = [proxy.wait() for proxy in self.proxies]
        given = self.service.end()
        wrong = [line for proxy in self.proxies for line in proxy.log.lines if self._is_wrong(line)]
        assert not any(ends), (ends, wrong)
        assert not wrong, wrong[:10]
        return Row(
            scenario,
            self._scale.count,
            report.sent,
            report.failed,
            given.doubled,
            report.answered - given.came if given.came < report.answered else 0,
            report.held_back,
            report.seconds,
            round(report.sent / report.seconds),
            report.p99_ms,
            report.failures,
        )

    def _is_wrong(self, line: Line) -> bool:
        """Whether it tells of a mistake of the proxy's own."""
        return line.get("level") in ("error", "critical") and line["message"] not in self._allowed
