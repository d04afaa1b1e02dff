"""The command `python -m fastproxy.bench.compare`: all chains in one run, under the same load, in turn.

All chains of a scenario stand from its first round to its last and take turns under load, so that a slow
minute of the machine hits each of them alike.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fastproxy.bench.configs import CONNECTIONS_MAX
from fastproxy.bench.credentials import Credentials, issue
from fastproxy.bench.load import LoadError
from fastproxy.bench.peers import CHAINS, Chain, service_command
from fastproxy.bench.processes import Fleet, StartError, await_answer, pick_ports
from fastproxy.bench.report import Findings, Outcome, as_json, markdown, remarks, table
from fastproxy.bench.scenario import Load, Scenario
from fastproxy.bench.scenarios import SCENARIOS
from fastproxy.bench.standing import StandingChain, stand
from fastproxy.bench.tools import NGINX, Tool, ToolMissingError

WARM_UP_S = 2
TABLE_WIDTH = 170
"""Columns of the table where the output is a file, which has no width of its own."""


class Comparison:
    """One scenario over some chains.

    Args:
        scenario: what is asked.
        rounds: how many turns each chain takes that count.
        load: how much load it gets in each.
        folder: for configs, keys and logs; only this user can read it.
        fleet: takes the processes in, and ends them.
        progress: shows how far the run is.
    """

    __slots__ = (
        "_credentials",
        "_fleet",
        "_folder",
        "_load",
        "_progress",
        "_rounds",
        "_scenario",
        "_service_folder",
        "_service_port",
    )

    def __init__(
        self, scenario: Scenario, rounds: int, load: Load, folder: Path, fleet: Fleet, progress: Progress
    ) -> None:
        self._scenario = scenario
        self._rounds = rounds
        self._load = load
        self._folder = folder
        self._fleet = fleet
        self._progress = progress
        self._credentials: Credentials = issue(folder)
        self._service_folder = folder / "service"
        self._service_folder.mkdir()
        (self._service_port,) = pick_ports(1)
        command = service_command(self._service_port, self._service_folder)
        service = fleet.start(command, self._service_folder / "log")
        await_answer(self._service_port, [service])

    def run(self, chains: Sequence[Chain]) -> Findings:
        """Start, warm up and measure the chains; what goes wrong with one stands in its outcome."""
        outcomes = [Outcome(chain) for chain in chains]
        standing = [(outcome, chain) for outcome in outcomes if (chain := self._start(outcome)) is not None]
        turns = [f"round {number} of {self._rounds}" for number in range(1, self._rounds + 1)]
        if self._scenario.warms_up:
            turns.insert(0, "warm-up")
        task = self._progress.add_task("", total=len(standing) * len(turns))
        for turn in turns:
            for outcome, chain in standing:
                label = f"{self._scenario.name}, {turn}: {chain.chain.name}"
                self._progress.update(task, description=label)
                self._take_turn(outcome, chain, is_warm_up=turn == "warm-up")
                self._progress.advance(task)
        return Findings(self._scenario, self._rounds, self._load, outcomes)

    def _start(self, outcome: Outcome) -> StandingChain | None:
        try:
            return stand(
                outcome.chain,
                self._service_port,
                self._service_folder / "files",
                self._folder,
                self._fleet,
                self._credentials,
            )
        except ToolMissingError as exc:
            outcome.skipped = str(exc)
        except StartError as exc:
            outcome.failure = str(exc)
        return None

    def _take_turn(self, outcome: Outcome, chain: StandingChain, *, is_warm_up: bool) -> None:
        if not chain.is_whole():
            outcome.failure = "a proxy ended during the run"
            return
        load = replace(self._load, seconds=WARM_UP_S) if is_warm_up else self._load
        try:
            turn = self._scenario.measure(chain, load)
        except (LoadError, ProcessLookupError) as exc:
            outcome.failure = str(exc)
            return
        outcome.failure = outcome.failure or turn.fault
        if not is_warm_up:
            outcome.rounds.append(turn.figures)


def versions(tools: Iterable[Tool]) -> dict[str, str]:
    """Return the versions of Python and of programs, of those that are there."""
    found = {"python": platform.python_version()}
    for tool in tools:
        try:
            found[tool.name] = tool.version()
        except ToolMissingError:
            continue  # the chain's own outcome says so
    return found


def chosen(names: str | None, scenario: Scenario) -> list[Chain]:
    """Return the chains of a comma-separated list, in the order of `CHAINS`; the scenario's without a list.

    Raises:
        click.BadParameter: a name is unknown.
    """
    if names is None:
        return [chain for chain in CHAINS if scenario.chains is None or chain.name in scenario.chains]
    wanted = {name.strip() for name in names.split(",")}
    unknown = wanted - {chain.name for chain in CHAINS}
    if unknown:
        known = ", ".join(chain.name for chain in CHAINS)
        raise click.BadParameter(f"unknown chain {', '.join(sorted(unknown))}; known are {known}")
    return [chain for chain in CHAINS if chain.name in wanted]


@click.command()
@click.option(
    "--scenario",
    "scenario_names",
    type=click.Choice(list(SCENARIOS)),
    multiple=True,
    default=["peak"],
    show_default=True,
    help="What is measured; may be given several times.",
)
@click.option("--rounds", type=click.IntRange(1, 50), help="Rounds per chain; each scenario has its own.")
@click.option("--seconds", type=click.IntRange(1, 60), help="Length of a round, or of each of its parts.")
@click.option(
    "--connections",
    type=click.IntRange(1, CONNECTIONS_MAX),
    help="Connections of the caller, each with one request in flight.",
)
@click.option(
    "--chains", "chain_names", metavar="NAME,NAME", help="Which chains; the scenario's unless given."
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write all figures here.",
)
@click.option(
    "--markdown",
    "markdown_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the tables here.",
)
def main(
    scenario_names: Sequence[str],
    rounds: int | None,
    seconds: int | None,
    connections: int | None,
    chain_names: str | None,
    json_file: Path | None,
    markdown_file: Path | None,
) -> None:
    """Compare fastproxy with other proxies on this machine, over loopback.

    Exit code 0: all chains that are installed were measured without an error; 1: a chain failed;
    2: a program without which nothing can be measured is missing.
    """
    # Whoever ends the comparison with SIGTERM gets the same clearing up as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plans = [
        (SCENARIOS[name], chosen(chain_names, SCENARIOS[name])) for name in dict.fromkeys(scenario_names)
    ]
    tools = {NGINX, *(tool for scenario, _ in plans for tool in scenario.tools)}
    errors = Console(stderr=True)
    try:
        for tool in tools:
            tool.find()
    except ToolMissingError as exc:
        errors.print(str(exc), markup=False)
        sys.exit(2)
    tools |= {chain.tool for _, chains in plans for chain in chains if chain.tool is not None}

    figures = Console() if sys.stdout.isatty() else Console(width=TABLE_WIDTH)
    found = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    for scenario, chains in plans:
        asked = Load(connections or scenario.load.connections, seconds or scenario.load.seconds)
        with (
            tempfile.TemporaryDirectory(prefix="fastproxy-bench-") as folder,
            Fleet() as fleet,
            Progress(*columns, console=errors) as progress,
        ):
            comparison = Comparison(scenario, rounds or scenario.rounds, asked, Path(folder), fleet, progress)
            findings = comparison.run(chains)
        figures.print(table(findings))
        for line in remarks(findings):
            figures.print(line, markup=False)
        found.append(findings)

    run = {"cpus": os.cpu_count(), "kernel": platform.release(), "versions": versions(tools)}
    if json_file is not None:
        written = {"run": run, "scenarios": [as_json(findings) for findings in found]}
        json_file.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    if markdown_file is not None:
        markdown_file.write_text("\n".join(map(markdown, found)), encoding="utf-8")
    sys.exit(1 if any(outcome.failure for findings in found for outcome in findings.outcomes) else 0)


if __name__ == "__main__":
    main()
