"""The file of a run, `bench.json`: written whole after every turn, and read again to go on.

What is on disk is at any moment the complete record of some turn's end: a run that is killed, or that the
power fails under, loses no more than the turn that was under way.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from fastproxy.bench.record import FORMAT, Record, ScenarioRecord, summary

FILE_NAME = "bench.json"
LIMIT_BYTES = 256 << 20
"""More than any run writes; what is larger isn't the record of one."""


class StoreError(Exception):
    """A record can't be read, or can't be gone on with; the message says what to do."""


def save(record: Record, folder: Path) -> None:
    """Put a record in the place of the one that is there, in one step (rename(2)).

    Raises:
        OSError: the folder can't be written to.
    """
    _replace(folder / FILE_NAME, msgspec.json.encode(record))


def save_for_programs(record: Record, file: Path) -> None:
    """Write a record as `save` does, indented, and with the medians, spreads and ratios of each scenario.

    Raises:
        OSError: the folder can't be written to.
    """
    written = msgspec.to_builtins(record)
    for scenario, into in zip(record.scenarios, written["scenarios"], strict=True):
        into["summary"] = summary(scenario)
    encoded = msgspec.json.encode(written)
    _replace(file, msgspec.json.format(encoded, indent=1) + b"\n")


def load(file: Path) -> Record:
    """Read a record.

    Raises:
        StoreError: there is none, or not one of this format.
    """
    try:
        if file.stat().st_size > LIMIT_BYTES:
            raise StoreError(f"{file} is too large for the record of a run")
        record = msgspec.json.decode(file.read_bytes(), type=Record)
    except OSError as exc:
        raise StoreError(f"{file} can't be read: {exc.strerror}") from exc
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise StoreError(f"{file} isn't the record of a run: {exc}") from exc
    if record.format != FORMAT:
        raise StoreError(f"{file} has format {record.format}; this version reads {FORMAT}")
    return record


def take_up(found: Record, asked: Record) -> Record:
    """Return the record of an interrupted run, ready to go on with what is asked now.

    What couldn't be started then gets another chance; what was measured stays.

    Raises:
        StoreError: plan, machine or versions differ; ratios across such a change would mean nothing.
    """
    differences = list(_differences(asdict(found.facts), asdict(asked.facts), ignored=("started", "command")))
    differences += _differences(_plan_of(found), _plan_of(asked))
    if differences:
        raise StoreError(
            "this run can't be gone on with, since it was begun otherwise: "
            + "; ".join(differences)
            + f". It was begun with: {found.facts.command}"
        )
    for scenario in found.scenarios:
        scenario.broken_off = None
        for chain in scenario.chains:
            chain.failure = None
    found.state = "running"
    return found


def _plan_of(record: Record) -> dict[str, Any]:
    return {scenario.name: _asked_of(scenario) for scenario in record.scenarios}


def _asked_of(scenario: ScenarioRecord) -> dict[str, Any]:
    return {
        "rounds": scenario.rounds,
        "load": asdict(scenario.load),
        "points": [asdict(point) for point in scenario.points],
        "chains": [chain.name for chain in scenario.chains],
        "figures": [figure.name for figure in scenario.figures],
    }


def _differences(then: Any, now: Any, name: str = "", ignored: tuple[str, ...] = ()) -> list[str]:
    """Return in words where two values differ, by the path of the keys that lead there."""
    if isinstance(then, dict) and isinstance(now, dict):
        found: list[str] = []
        for key in {**then, **now}:
            if key not in ignored:
                found += _differences(then.get(key), now.get(key), f"{name} {key}".strip())
        return found
    if then == now:
        return []
    return [f"{name}: {_shown(then)} then, {_shown(now)} now"]


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def _replace(file: Path, content: bytes) -> None:
    partial = file.with_name(file.name + ".partial")
    with partial.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())  # the name must not reach the disk before the content
    partial.replace(file)
