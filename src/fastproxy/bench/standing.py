"""A chain whose proxies run: where its caller asks, and what its proxies cost."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fastproxy.bench import configs
from fastproxy.bench.accounting import cpu_s, largest_bytes, resident_bytes
from fastproxy.bench.configs import MIB, SMALL, ConfigSize, Leg
from fastproxy.bench.credentials import PLACES, Credentials, Place
from fastproxy.bench.peers import Chain, service_command
from fastproxy.bench.processes import (
    START_LIMIT_S,
    Fleet,
    PortTakenError,
    Process,
    StartError,
    await_answer,
    pick_ports,
)

PORT_ATTEMPTS = 3
"""How often something is started whose ports turn out to be taken."""

START_LIMIT_S_PER_ENTRY = 0.001
"""How much longer a start may take for each caller, route or endpoint in a config."""

Started = TypeVar("Started")


@dataclass(frozen=True, slots=True)
class StandingChain:
    """A chain whose proxies run.

    port: what the caller is pointed at. files: what the service hands out, as it lies on disk.
    proxies: none where the caller asks the service itself.
    start_s: from the start of the first proxy to the first answer through all; in seconds.
    """

    chain: Chain
    port: int
    files: Path
    proxies: dict[Place, Process] = field(default_factory=dict)
    start_s: float = 0.0

    def is_whole(self) -> bool:
        """Return whether all proxies still run."""
        return all(proxy.is_running() for proxy in self.proxies.values())

    def cpu_s(self) -> dict[Place, float]:
        """Return the CPU time that each proxy has used so far.

        Raises:
            ProcessLookupError: a proxy is gone.
        """
        return {place: cpu_s(proxy.pid) for place, proxy in self.proxies.items()}

    def resident_bytes(self) -> dict[Place, int]:
        """Return the resident memory of each proxy.

        Raises:
            ProcessLookupError: a proxy is gone.
        """
        return {place: resident_bytes(proxy.pid) for place, proxy in self.proxies.items()}

    def memory_mib(self) -> dict[str, float]:
        """Return, as figures, what each proxy holds, all its processes together, and its largest one alone.

        Raises:
            ProcessLookupError: a proxy is gone.
        """
        figures = {}
        for place, proxy in self.proxies.items():
            figures[f"resident_{place}_mib"] = resident_bytes(proxy.pid) / MIB
            figures[f"worker_{place}_mib"] = largest_bytes(proxy.pid) / MIB
        return figures


@dataclass(frozen=True, slots=True)
class Service:
    """The service, running. files: what it hands out, as it lies on disk. socket: its Unix socket."""

    port: int
    files: Path
    socket: Path


def start_service(folder: Path, fleet: Fleet) -> Service:
    """Start the service, and wait until it answers.

    Args:
        folder: an empty one, its own. fleet: takes the process in.

    Raises:
        ToolMissingError: the program isn't installed.
        StartError: it ended, or there was no right answer in time.
    """

    def start() -> Service:
        (port,) = pick_ports(1)
        process = fleet.start(service_command(port, folder), folder / "log")
        with _ended_on_failure(fleet, [process]):
            await_answer(port, [process])
        return Service(port, folder / "files", folder / configs.SOCKET_NAME)

    return _with_free_ports(start)


def stand(
    chain: Chain,
    service: Service,
    folder: Path,
    fleet: Fleet,
    credentials: Credentials,
    size: ConfigSize = SMALL,
) -> StandingChain:
    """Start the proxies of a chain, and wait until the service answers through them.

    Args:
        service: what they stand before.
        folder: each proxy gets one of its own in it.
        fleet: takes the processes in.
        size: how large their configs are.

    Raises:
        ToolMissingError: a proxy isn't installed.
        StartError: a proxy ended, or there was no right answer in time.
    """
    if chain.prepare is None:
        return StandingChain(chain, service.port, service.files)
    return _with_free_ports(lambda: _stand_once(chain, service, folder, fleet, credentials, size))


def _stand_once(
    chain: Chain, service: Service, folder: Path, fleet: Fleet, credentials: Credentials, size: ConfigSize
) -> StandingChain:
    assert chain.prepare is not None
    out_port, in_port, *admin_ports = pick_ports(4)
    ports: dict[Place, tuple[int, int]] = {"out": (out_port, in_port), "in": (in_port, service.port)}
    proxies: dict[Place, Process] = {}
    commands: dict[Path, list[str]] = {}
    for place, admin_port in zip(PLACES, admin_ports, strict=True):
        own = Path(tempfile.mkdtemp(prefix=f"{chain.name}-{place}-", dir=folder))
        leg = Leg(place, *ports[place], admin_port, own, credentials, size, service.socket)
        commands[own] = chain.prepare(leg)
    begun_s = time.monotonic()
    for place, (own, command) in zip(PLACES, commands.items(), strict=True):
        proxies[place] = fleet.start(command, own / "log")
    with _ended_on_failure(fleet, list(proxies.values())):
        await_answer(out_port, list(proxies.values()), START_LIMIT_S + size.entries * START_LIMIT_S_PER_ENTRY)
    return StandingChain(chain, out_port, service.files, proxies, time.monotonic() - begun_s)


def _with_free_ports(start: Callable[[], Started]) -> Started:
    """Start something, with other ports when one was taken between its choice and its use."""
    for _ in range(PORT_ATTEMPTS - 1):
        try:
            return start()
        except PortTakenError:
            continue
    return start()


@contextmanager
def _ended_on_failure(fleet: Fleet, processes: Sequence[Process]) -> Iterator[None]:
    """End processes that failed to start, so that they don't disturb what is started next."""
    try:
        yield
    except StartError:
        fleet.end(processes)
        raise
