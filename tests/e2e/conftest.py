"""What end-to-end tests share: nginx for the whole run, pairs of proxies per module or per test.

Pairs are started by a maker, which stops them at the end of its scope and checks then that both drained,
exited with 0 and logged no error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.nginx import Nginx
from tests.e2e.proxies import Config, Pair, ProxyProcess, in_config, key_of, merged, write_key
from tests.e2e.relay import Relay
from tests.e2e.services import Conversation, Script, ScriptedService, sized


class Maker:
    """Starts pairs, services and relays that end with a scope."""

    def __init__(self, stack: ExitStack, factory: pytest.TempPathFactory) -> None:
        self._stack = stack
        self._factory = factory

    def service(self, script: Script) -> ScriptedService:
        """Start a service that plays `script`."""
        return self._stack.enter_context(ScriptedService(script))

    def pair(
        self,
        services: Mapping[str, Sequence[str]],
        *,
        out: Config | None = None,
        inner: Config | None = None,
        relay: Relay | None = None,
        inner_first: str = "true",
    ) -> Pair:
        """Start a pair of proxies; see `Pair`. relay: stands between them."""
        pair = Pair(
            self._factory.mktemp("pair"),
            services,
            out=out,
            inner=inner,
            between=relay.lead_to if relay else None,
            inner_first=inner_first,
        )
        return self._stack.enter_context(pair)

    def in_proxy(self, services: Mapping[str, Sequence[str]], changes: Config) -> ProxyProcess:
        """Start an in proxy alone. changes: against the plain config; there is a second key, `other.key`."""
        folder = self._factory.mktemp("in")
        write_key(folder, "in")
        write_key(folder, "other")
        proxy = ProxyProcess(folder, merged(in_config(services, {"web": key_of("web")}), changes))
        self._stack.callback(proxy.stop)
        return proxy.ready()

    def relay(self) -> Relay:
        """Start a relay, to be given to `pair`."""
        return self._stack.enter_context(Relay())


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """The plain service."""
    server = Nginx(tmp_path_factory.mktemp("nginx"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def make_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    """A maker whose things last for a module."""
    with ExitStack() as stack:
        yield Maker(stack, tmp_path_factory)


@pytest.fixture
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    """A maker whose things last for a test."""
    with ExitStack() as stack:
        yield Maker(stack, tmp_path_factory)


class Gate:
    """A service that answers when it is told to."""

    def __init__(self, make: Maker) -> None:
        self.open = threading.Event()
        self.service = make.service(self._script)

    def _script(self, conversation: Conversation) -> None:
        while True:
            conversation.request()
            assert self.open.wait(30)
            conversation.send(sized(b"at last"))


@pytest.fixture
def gate(make: Maker) -> Iterator[Gate]:
    """A gate that is opened at the end, at the latest."""
    gate = Gate(make)
    yield gate
    gate.open.set()


Start = Callable[[Config], ProxyProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts proxies, and ends those that still run; what they log is the tests' to judge."""
    for name in ("web", "in"):
        write_key(tmp_path, name)
    with ExitStack() as stack:

        def start(config: Config) -> ProxyProcess:
            proxy = ProxyProcess(tmp_path, config)
            stack.callback(proxy.kill)
            return proxy.ready()

        yield start
