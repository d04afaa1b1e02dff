"""A chain whose proxies run: where its caller asks, and what its proxies cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fastproxy.bench.accounting import cpu_s, resident_bytes
from fastproxy.bench.configs import Leg
from fastproxy.bench.credentials import PLACES, Credentials, Place
from fastproxy.bench.peers import Chain
from fastproxy.bench.processes import Fleet, Process, await_answer, pick_ports


@dataclass(frozen=True, slots=True)
class StandingChain:
    """A chain whose proxies run.

    port: what the caller is pointed at. files: what the service hands out, as it lies on disk.
    proxies: none where the caller asks the service itself.
    """

    chain: Chain
    port: int
    files: Path
    proxies: dict[Place, Process] = field(default_factory=dict)

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


def stand(
    chain: Chain, service_port: int, files: Path, folder: Path, fleet: Fleet, credentials: Credentials
) -> StandingChain:
    """Start the proxies of a chain, and wait until the service answers through them.

    Args:
        service_port: of a service that runs. files: what it hands out.
        folder: each proxy gets one of its own in it.
        fleet: takes the processes in.

    Raises:
        ToolMissingError: a proxy isn't installed.
        StartError: a proxy ended, or there was no right answer in time.
    """
    if chain.prepare is None:
        return StandingChain(chain, service_port, files)
    out_port, in_port, *admin_ports = pick_ports(4)
    ports: dict[Place, tuple[int, int]] = {"out": (out_port, in_port), "in": (in_port, service_port)}
    standing = StandingChain(chain, out_port, files)
    for place, admin_port in zip(PLACES, admin_ports, strict=True):
        own = folder / f"{chain.name}-{place}"
        own.mkdir()
        leg = Leg(place, *ports[place], admin_port, own, credentials)
        standing.proxies[place] = fleet.start(chain.prepare(leg), own / "log")
    await_answer(out_port, list(standing.proxies.values()))
    return standing
