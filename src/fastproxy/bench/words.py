"""What a report says in sentences: how the run ended, how each scenario was measured."""

from __future__ import annotations

from fastproxy.bench.record import Record, ScenarioRecord


def ending(record: Record) -> str:
    """Return how the run ended, and how much of it there is."""
    taken = sum(len(scenario.turns) for scenario in record.scenarios)
    planned = sum(_planned(scenario) for scenario in record.scenarios)
    ways = {
        "complete": f"Complete: {taken} turns were measured.",
        "interrupted": f"Interrupted after {taken} of {planned} turns; --resume goes on.",
        "running": f"Not ended: {taken} of {planned} turns so far; --resume goes on.",
    }
    kind = "A quick run, for a first impression. " if record.is_quick else ""
    return kind + ways[record.state]


def how_measured(scenario: ScenarioRecord) -> str:
    """Return how the figures of a scenario were made."""
    rounds = "1 round" if scenario.rounds == 1 else f"{scenario.rounds} rounds"
    return (
        f"Medians of {rounds} of {scenario.load.seconds} s, {scenario.load.connections} connections unless "
        "said otherwise; ratios are made in each round, with the least and the greatest in brackets."
    )


def failed_scenarios(record: Record) -> list[str]:
    """Return the names of the scenarios in which something failed."""
    return [scenario.name for scenario in record.scenarios if scenario.has_failed()]


def _planned(scenario: ScenarioRecord) -> int:
    return len(scenario.chains) * len(scenario.points) * scenario.rounds
