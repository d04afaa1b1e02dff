"""`fastproxy bench`: what calls cost through this system and through others, measured on this machine."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType

import click
from rich.console import Console
from rich.table import Table as ShownTable

from fastproxy.bench import facts, reports, store
from fastproxy.bench.configs import CONNECTIONS_MAX
from fastproxy.bench.plan import Choice, Plan, PlanError, make_plan
from fastproxy.bench.processes import StartError
from fastproxy.bench.progress import Progress, duration
from fastproxy.bench.record import Record, ScenarioRecord
from fastproxy.bench.run import carry_out
from fastproxy.bench.scenarios import SCENARIOS
from fastproxy.bench.store import StoreError
from fastproxy.bench.tables import point_table
from fastproxy.bench.tools import NGINX, ToolMissingError
from fastproxy.bench.words import ending

TABLE_WIDTH = 170
"""Columns of the tables where the output is a file, which has no width of its own."""


@click.command()
@click.option(
    "--scenario",
    "scenarios",
    type=click.Choice(list(SCENARIOS)),
    multiple=True,
    help="What is measured; may be given several times. Default: everything.",
)
@click.option(
    "--chains",
    metavar="NAME,NAME",
    help="Which ways are measured, of those that each scenario has; with --scenario, of all that there are.",
)
@click.option("--rounds", type=click.IntRange(1, 50), help="Turns of each chain; each scenario has its own.")
@click.option("--seconds", type=click.IntRange(1, 60), help="Length of a turn, or of each of its parts.")
@click.option(
    "--connections",
    type=click.IntRange(1, CONNECTIONS_MAX),
    help="Connections of the caller, each with one request in flight.",
)
@click.option("--quick", is_flag=True, help="A first impression in at most 3 minutes; else at most 40.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for bench.json, bench.md and bench.html. Default: a new one named after date and time.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --output, asked for in the same way.")
def bench(
    scenarios: tuple[str, ...],
    chains: str | None,
    rounds: int | None,
    seconds: int | None,
    connections: int | None,
    quick: bool,
    output: Path | None,
    resume: bool,
) -> None:
    """Measure what calls cost through fastproxy and through other proxies.

    All proxies run on this machine's loopback with throw-away certificates and take turns under the same
    load. What is measured is on disk after every turn; Ctrl-C ends all that was started, and writes the
    reports of what there is.

    Exit status: 0 all that is installed was measured and did what it should; 1 something failed, the
    reports say what; 2 nothing can be measured; 130 interrupted.
    """
    names = tuple(name.strip() for name in chains.split(",")) if chains else ()
    choice = Choice(scenarios, names, rounds, seconds, connections, quick)
    try:
        plan = make_plan(choice, SCENARIOS)
        NGINX.find()  # the service
        folder, record = _prepared(plan, output, is_resumed=resume)
    except (PlanError, StoreError, ToolMissingError) as exc:
        raise click.UsageError(str(exc)) from exc
    sys.exit(_measure(plan, record, folder))


def _prepared(plan: Plan, output: Path | None, *, is_resumed: bool) -> tuple[Path, Record]:
    """Return the folder of the run, which is there, and its record: a new one, or that to go on with.

    Raises:
        StoreError: there is a run already, or none that could be gone on with.
    """
    if is_resumed and output is None:
        raise StoreError("--resume needs --output, the folder of the run to go on with")
    folder = output or Path(f"bench-{datetime.now().astimezone():%Y-%m-%d-%H%M%S}")
    file = folder / store.FILE_NAME
    command = shlex.join(["fastproxy", *sys.argv[1:]])
    record = plan.blank(facts.collect(command, plan.tools()))
    if is_resumed:
        return folder, store.take_up(store.load(file), record)
    if file.exists():
        raise StoreError(f"{file} holds a run: go on with it by --resume, or name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return folder, record


def _measure(plan: Plan, record: Record, folder: Path) -> int:
    """Carry out the plan, write the reports, and return the exit status."""
    console, errors = Console(), Console(stderr=True)
    if not sys.stdout.isatty():
        console = Console(width=TABLE_WIDTH)
    errors.print(
        f"{len(plan.tasks)} scenarios, about {duration(plan.expected_s())}, "
        f"at most {duration(plan.limit_s)}; results go to {folder}",
        markup=False,
        highlight=False,
    )
    status = 0
    with _ending_in_order() as ended_by:
        try:
            with Progress(errors, plan.expected_s()) as progress:
                carry_out(plan, record, partial(store.save, folder=folder), progress)
        except KeyboardInterrupt:
            status = 128 + ended_by[-1]
        except (StartError, ToolMissingError) as exc:
            errors.print(f"The service that all chains lead to can't be run: {exc}", markup=False)
            status = 2
    files = reports.write(record, folder)
    for scenario in record.scenarios:
        _show(console, scenario)
    console.print(ending(record), markup=False, highlight=False)
    console.print("Written: " + ", ".join(map(str, files)), markup=False, highlight=False, soft_wrap=True)
    return status or int(record.has_failed())


def _show(console: Console, scenario: ScenarioRecord) -> None:
    """Print the figures at a scenario's first point, and all that there is to remark."""
    point = scenario.points[0]
    if any(turn.point == point.name for turn in scenario.turns):
        table = point_table(scenario, point)
        where = f", {point.name}" if point.name else ""
        shown = ShownTable(title=f"{scenario.name}{where}: {scenario.title}")
        for number, heading in enumerate(table.headings):
            shown.add_column(heading, justify="right" if number else "left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for remark in scenario.remarks():
        console.print(f"{scenario.name}: {remark}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _ending_in_order() -> Iterator[Sequence[int]]:
    """Let the signals that end a program interrupt it as Ctrl-C does; the value is which ones came.

    Ctrl-C is among them: a shell may have started this program with SIGINT ignored.
    """
    came: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    former = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield came
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
