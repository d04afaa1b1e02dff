"""Medians, ratios, failures, and the choice of chains."""

from __future__ import annotations

import json

import click
import pytest
from rich.console import Console

from fastproxy.bench.compare import chosen
from fastproxy.bench.load import WrkResult
from fastproxy.bench.peers import CHAINS, Chain, Tool, ToolMissingError
from fastproxy.bench.report import Outcome, Round, as_json, ratio, remarks, table


def chain(name: str) -> Chain:
    return next(chain for chain in CHAINS if chain.name == name)


def outcome(name: str, *rates: float) -> Outcome:
    found = Outcome(chain(name))
    for rate in rates:
        wrk = WrkResult(int(5 * rate), rate, p50_ms=1.0, p99_ms=2.0, socket_errors=0, non_2xx=0)
        found.rounds.append(Round(wrk, {"out": 10.0 + rate, "in": 20.0 + rate}))
    return found


def test_figures_are_medians_and_ratios_of_medians() -> None:
    ours, baseline = outcome("fastproxy-http", 10, 1000, 30), outcome("haproxy-h1", 20, 15, 1)
    assert ours.requests_per_s == 30
    assert ours.cpu_us("out") == 40
    assert ratio(ours, baseline) == 2


def test_a_chain_that_was_not_measured_has_no_figures() -> None:
    empty = outcome("haproxy-h1")
    assert empty.requests_per_s is None
    assert ratio(outcome("fastproxy-http", 1), empty) is None
    assert ratio(empty, outcome("haproxy-h1", 1)) is None


@pytest.mark.parametrize(("socket_errors", "non_2xx"), [(1, 0), (0, 1)])
def test_one_error_fails_a_chain(socket_errors: int, non_2xx: int) -> None:
    found = outcome("haproxy-h1", 100)
    found.judge(WrkResult(500, 100.0, 1.0, 2.0, socket_errors, non_2xx))
    assert found.failure is not None
    assert remarks([found]) == [f"FAILED haproxy-h1: {found.failure}"]


def test_a_clean_round_fails_nothing() -> None:
    found = outcome("haproxy-h1", 100)
    found.judge(found.rounds[0].wrk)
    assert found.failure is None
    assert remarks([found]) == []


def test_table_and_json_carry_the_figures() -> None:
    outcomes = [outcome("none", 4000), outcome("haproxy-h1", 2000), outcome("fastproxy-http", 3000)]
    outcomes[2].resident_bytes = {"out": 31 * 1024 * 1024, "in": 32 * 1024 * 1024}
    console = Console(width=150)
    with console.capture() as printed:
        console.print(table(outcomes))
    row = next(line for line in printed.get().splitlines() if "fastproxy" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][1:] == [
        "3,000", "1.50", "3010.0 µs", "3020.0 µs", "1.0 ms", "2.0 ms", "31 MiB", "32 MiB",
    ]  # fmt: skip
    written = json.loads(json.dumps(as_json(outcomes, {"rounds": 1})))
    assert written["chains"][2]["ratio"] == {"haproxy-h1": 1.5}
    assert written["chains"][2]["median"]["cpu_us"] == {"out": 3010.0, "in": 3020.0}
    assert written["chains"][0]["median"]["cpu_us"] == {"out": None, "in": None}


def test_chains_are_chosen_by_name_in_their_own_order() -> None:
    assert chosen(None) == list(CHAINS)
    assert [found.name for found in chosen("nginx-h1, none")] == ["none", "nginx-h1"]
    with pytest.raises(click.BadParameter, match=r"haproxy-h9.*known are.*haproxy-h1"):
        chosen("haproxy-h9")


def test_names_of_chains_differ() -> None:
    assert len({found.name for found in CHAINS}) == len(CHAINS)


def test_a_missing_program_is_named_with_its_installation() -> None:
    absent = Tool("no-such-program", "apt-get install no-such-package", "-v")
    with pytest.raises(ToolMissingError, match=r"no-such-program.*apt-get install no-such-package"):
        absent.find()
