"""`fastproxy check`: everything that is wrong with config files, at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

import click
from msgspec.structs import asdict

from fastproxy.config.load import load
from fastproxy.config.problem import ConfigError, Problem
from fastproxy.config.snapshot import OutSnapshot, Snapshot
from fastproxy.policy.pattern import parse_pattern

PATIENCE_S = 2.0
"""How long a file may take before something is said; one of 100,000 callers takes longer."""


@click.command()
@click.argument("files", nargs=-1, metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of config files, for editors.")
def check(files: tuple[str, ...], as_json: bool, schema: bool) -> None:
    """Check config files, their keys and names, without starting anything.

    Exit status: 0 when all can be used, 1 when one can't, or names somebody whose keys have all ended, 2 when
    the command itself is wrong.
    """
    if schema:
        # Imported here: only this option needs it.
        from fastproxy.config.reference import editor_schema  # noqa: PLC0415

        click.echo(json.dumps(editor_schema(), indent=2, ensure_ascii=False))
        return
    if not files:
        raise click.UsageError("name at least one config file, or use --schema")
    reports = [_report(file) for file in files]
    if as_json:
        click.echo(json.dumps(reports, indent=2, ensure_ascii=False))
    else:
        for report in reports:
            _print_for_people(report)
    sys.exit(0 if all(report["ok"] for report in reports) else 1)


def _report(file: str) -> dict[str, Any]:
    try:
        with _telling_when_it_takes_long(file):
            snapshot = load(file, check_pattern=parse_pattern)
    except ConfigError as exc:
        return {
            "file": file,
            "ok": False,
            "problems": [asdict(problem) for problem in exc.problems],
            "warnings": [],
        }
    return {
        "file": file,
        "ok": not snapshot.lapsed,
        "problems": [asdict(problem) for problem in snapshot.lapsed],
        "warnings": [asdict(warning) for warning in snapshot.warnings],
        "summary": _summary(snapshot),
    }


@contextmanager
def _telling_when_it_takes_long(file: str) -> Iterator[None]:
    """Say that a file is being checked, for whoever would wonder by then; not among the results."""
    notice = Timer(PATIENCE_S, click.echo, (f"{file}: still reading and checking …",), {"err": True})
    notice.start()
    try:
        yield
    finally:
        notice.cancel()
        notice.join()  # if it is just being said, before the results


def _summary(snapshot: Snapshot) -> str:
    services = f"{len(snapshot.services)} service(s)"
    if isinstance(snapshot, OutSnapshot):
        used = {service.settings.transport for service in snapshot.services.values()}
        callers = ", ".join(snapshot.caller_names)
        return f"out proxy for {callers} at {snapshot.listen}, {services} over {', '.join(sorted(used))}"
    config = snapshot.config
    accepted = ", ".join(dict.fromkeys(config.listen.accept)) + (" inside TLS" if snapshot.tls else "")
    callers = f"{len(snapshot.caller_names)} caller(s), {len(snapshot.grants)} privilege(s)"
    return f"in proxy {config.name} at {snapshot.listen} for {accepted}, {services}, {callers}"


def _print_for_people(report: dict[str, Any]) -> None:
    for problem in report["problems"]:
        click.echo(str(Problem(**problem)))
    for warning in report["warnings"]:
        click.echo(f"{Problem(**warning)} [warning]")
    if report["ok"]:
        click.echo(f"{report['file']}: ok: {report['summary']}")
    else:
        outcome = "it would run without them" if "summary" in report else "it can't be used"
        click.echo(f"{report['file']}: {len(report['problems'])} problem(s); {outcome}")
