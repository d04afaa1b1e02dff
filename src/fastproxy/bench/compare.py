"""The command `python -m fastproxy.bench.compare`: all chains in one run, under the same load, in turn.

All chains stand from the first round to the last and take turns under load, so that a slow minute of the
machine hits each of them alike. `post.lua`, the request that wrk sends, is the one that the performance
record of the Go original was measured with (`wrk -s post.lua`), unchanged, so that figures can be set
beside that record.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fastproxy.bench.configs import CALLER_PATH, CONNECTIONS_MAX, Leg
from fastproxy.bench.credentials import PLACES, Credentials, Place, issue
from fastproxy.bench.load import LoadError, cpu_s, resident_bytes, run_wrk
from fastproxy.bench.peers import CHAINS, NGINX, WRK, Chain, Tool, ToolMissingError, service_command
from fastproxy.bench.processes import Fleet, Process, StartError, await_answer, pick_ports
from fastproxy.bench.report import Outcome, Round, as_json, remarks, table

POST_SCRIPT = Path(__file__).with_name("post.lua")
WARM_UP_S = 2
TABLE_WIDTH = 150
"""Columns of the table where the output is a file, which has no width of its own."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How much load each chain gets."""

    wrk: Path
    rounds: int
    seconds: int
    connections: int


@dataclass(slots=True)
class StandingChain:
    """A chain whose proxies run.

    port: what the caller is pointed at.
    """

    outcome: Outcome
    port: int
    proxies: dict[Place, Process] = field(default_factory=dict)

    def load(self, plan: LoadPlan, seconds: int) -> Round:
        """Put load on the chain for some seconds and measure.

        Raises:
            LoadError: wrk failed.
            ProcessLookupError: a proxy is gone.
        """
        before_s = {place: cpu_s(proxy.pid) for place, proxy in self.proxies.items()}
        result = run_wrk(
            plan.wrk,
            self.port,
            CALLER_PATH,
            script=POST_SCRIPT,
            connections=plan.connections,
            seconds=seconds,
        )
        if result.requests == 0:
            raise LoadError("not a single request was answered")
        used_s = {place: cpu_s(proxy.pid) - before_s[place] for place, proxy in self.proxies.items()}
        return Round(result, {place: 1e6 * used / result.requests for place, used in used_s.items()})


class Comparison:
    """One run over some chains.

    Args:
        plan: the load.
        folder: for configs, keys and logs; only this user can read it.
        fleet: takes the processes in, and ends them.
        progress: shows how far the run is.
    """

    __slots__ = ("_credentials", "_fleet", "_folder", "_plan", "_progress", "_service", "_service_port")

    def __init__(self, plan: LoadPlan, folder: Path, fleet: Fleet, progress: Progress) -> None:
        self._plan = plan
        self._folder = folder
        self._fleet = fleet
        self._progress = progress
        self._credentials: Credentials = issue(folder)
        (self._service_port,) = pick_ports(1)
        self._service = fleet.start(service_command(self._service_port, folder), folder / "service.log")
        await_answer(self._service_port, [self._service])

    def run(self, chains: Sequence[Chain]) -> list[Outcome]:
        """Start, warm up and measure the chains; what goes wrong with one stands in its outcome."""
        outcomes = [Outcome(chain) for chain in chains]
        started = [self._start(outcome) for outcome in outcomes]
        standing = [chain for chain in started if chain is not None]
        task = self._progress.add_task("", total=len(standing) * (1 + self._plan.rounds))
        for turn in range(1 + self._plan.rounds):
            label = f"round {turn} of {self._plan.rounds}" if turn else "warm-up"
            for chain in standing:
                self._progress.update(task, description=f"{label}: {chain.outcome.chain.name}")
                self._take_turn(chain, is_warm_up=turn == 0)
                self._progress.advance(task)
        return outcomes

    def _start(self, outcome: Outcome) -> StandingChain | None:
        chain = outcome.chain
        if chain.prepare is None:
            return StandingChain(outcome, self._service_port)
        out_port, in_port, *admin_ports = pick_ports(4)
        ports: dict[Place, tuple[int, int]] = {
            "out": (out_port, in_port),
            "in": (in_port, self._service_port),
        }
        standing = StandingChain(outcome, out_port)
        try:
            for place, admin_port in zip(PLACES, admin_ports, strict=True):
                folder = self._folder / f"{chain.name}-{place}"
                folder.mkdir()
                port, next_port = ports[place]
                leg = Leg(place, port, next_port, admin_port, folder, self._credentials)
                standing.proxies[place] = self._fleet.start(chain.prepare(leg), folder / "log")
            await_answer(out_port, list(standing.proxies.values()))
        except ToolMissingError as exc:
            outcome.skipped = str(exc)
            return None
        except StartError as exc:
            outcome.failure = str(exc)
            return None
        return standing

    def _take_turn(self, chain: StandingChain, *, is_warm_up: bool) -> None:
        outcome = chain.outcome
        if any(not proxy.is_running() for proxy in chain.proxies.values()):
            outcome.failure = "a proxy ended during the run"
            return
        try:
            measured = chain.load(self._plan, WARM_UP_S if is_warm_up else self._plan.seconds)
            outcome.resident_bytes = {
                place: resident_bytes(proxy.pid) for place, proxy in chain.proxies.items()
            }
        except (LoadError, ProcessLookupError) as exc:
            outcome.failure = str(exc)
            return
        outcome.judge(measured.wrk)
        if not is_warm_up:
            outcome.rounds.append(measured)


def versions(chains: Sequence[Chain]) -> dict[str, str]:
    """Return the versions of the programs that take part, of those that are there."""
    tools: dict[str, Tool] = {tool.name: tool for tool in (WRK, NGINX)}
    tools |= {chain.tool.name: chain.tool for chain in chains if chain.tool is not None}
    found = {"python": platform.python_version()}
    for tool in tools.values():
        try:
            found[tool.name] = tool.version()
        except ToolMissingError:
            continue  # the chain's own outcome says so
    return found


def chosen(names: str | None) -> list[Chain]:
    """Return the chains of a comma-separated list, in the order of `CHAINS`; all when there is no list.

    Raises:
        click.BadParameter: a name is unknown.
    """
    if names is None:
        return list(CHAINS)
    wanted = {name.strip() for name in names.split(",")}
    unknown = wanted - {chain.name for chain in CHAINS}
    if unknown:
        known = ", ".join(chain.name for chain in CHAINS)
        raise click.BadParameter(f"unknown chain {', '.join(sorted(unknown))}; known are {known}")
    return [chain for chain in CHAINS if chain.name in wanted]


@click.command()
@click.option("--rounds", type=click.IntRange(1, 50), default=5, show_default=True, help="Rounds per chain.")
@click.option(
    "--seconds", type=click.IntRange(1, 60), default=5, show_default=True, help="Length of a round."
)
@click.option(
    "--connections",
    type=click.IntRange(1, CONNECTIONS_MAX),
    default=128,
    show_default=True,
    help="Connections of the caller, each with one request in flight.",
)
@click.option("--chains", "names", metavar="NAME,NAME", help="Which chains; all unless given.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write all figures here.",
)
def main(rounds: int, seconds: int, connections: int, names: str | None, json_file: Path | None) -> None:
    """Compare fastproxy with other proxies on this machine, over loopback.

    Exit code 0: all chains that are installed were measured without an error; 1: a chain failed;
    2: wrk or nginx, without which nothing can be measured, is missing.
    """
    # Whoever ends the comparison with SIGTERM gets the same clearing up as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chains = chosen(names)
    errors = Console(stderr=True)
    try:
        NGINX.find()
        plan = LoadPlan(WRK.find(), rounds, seconds, connections)
    except ToolMissingError as exc:
        errors.print(str(exc), markup=False)
        sys.exit(2)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="fastproxy-bench-") as folder,
        Fleet() as fleet,
        Progress(*columns, console=errors) as progress,
    ):
        outcomes = Comparison(plan, Path(folder), fleet, progress).run(chains)

    figures = Console() if sys.stdout.isatty() else Console(width=TABLE_WIDTH)
    figures.print(table(outcomes))
    for line in remarks(outcomes):
        figures.print(line, markup=False)
    run = {
        "rounds": rounds,
        "seconds": seconds,
        "connections": connections,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "versions": versions(chains),
    }
    figures.print(
        f"{rounds} rounds of {seconds} s, {connections} connections, {run['cpus']} CPUs", markup=False
    )
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(outcomes, run), indent=2) + "\n", encoding="utf-8")
    sys.exit(1 if any(outcome.failure for outcome in outcomes) else 0)


if __name__ == "__main__":
    main()
