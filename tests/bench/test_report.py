"""Medians, ratios, failures, and the choice of chains."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from fastproxy.bench.compare import chosen, main
from fastproxy.bench.peers import CHAINS, Chain
from fastproxy.bench.report import Findings, Outcome, as_json, markdown, ratio, remarks, table
from fastproxy.bench.scenario import Load, Turn
from fastproxy.bench.scenarios import SCENARIOS
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import Tool, ToolMissingError

PEAK = SCENARIOS["peak"]


def chain(name: str) -> Chain:
    return next(chain for chain in CHAINS if chain.name == name)


def outcome(name: str, *rates: float) -> Outcome:
    found = Outcome(chain(name))
    for rate in rates:
        figures = {"requests_per_s": rate, "p50_ms": 1.0, "p99_ms": 2.0}
        if name != "none":
            figures |= {"cpu_out_us": 10.0 + rate, "cpu_in_us": 20.0 + rate}
            figures |= {"resident_out_mib": 31.0, "resident_in_mib": 32.0}
        found.rounds.append(figures)
    return found


def findings(*outcomes: Outcome) -> Findings:
    return Findings(PEAK, 1, Load(connections=128, seconds=5), outcomes)


def test_figures_are_medians_and_ratios_of_medians() -> None:
    ours, baseline = outcome("fastproxy-http", 10, 1000, 30), outcome("haproxy-h1", 20, 15, 1)
    assert ours.median_of("requests_per_s") == 30
    assert ours.median_of("cpu_out_us") == 40
    assert ratio(ours, baseline, "requests_per_s") == 2


def test_a_chain_that_was_not_measured_has_no_figures() -> None:
    empty, measured = outcome("haproxy-h1"), outcome("fastproxy-http", 1)
    assert empty.median_of("requests_per_s") is None
    assert ratio(measured, empty, "requests_per_s") is None
    assert ratio(empty, measured, "requests_per_s") is None
    assert findings(empty, measured).baselines() == []


def test_what_failed_and_what_was_left_out_is_told() -> None:
    failed, absent = outcome("haproxy-h1", 100), outcome("envoy-h2")
    failed.failure, absent.skipped = "a proxy ended", "envoy is not installed"
    told = ["FAILED haproxy-h1: a proxy ended", "left out envoy-h2: envoy is not installed"]
    assert remarks(findings(failed, absent)) == told
    assert markdown(findings(failed, absent)).endswith("\n\n".join(told) + "\n")
    assert remarks(findings(outcome("haproxy-h1", 100))) == []


MEASURED = findings(outcome("none", 4000), outcome("haproxy-h1", 2000), outcome("fastproxy-http", 3000))

CELLS = ["3,000", "1.50", "3010.0 µs", "3020.0 µs", "1.0 ms", "2.0 ms", "31 MiB", "32 MiB"]


def test_the_table_carries_the_figures() -> None:
    console = Console(width=150)
    with console.capture() as printed:
        console.print(table(MEASURED))
    row = next(line for line in printed.get().splitlines() if "fastproxy" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][1:] == CELLS


def test_markdown_carries_the_figures() -> None:
    caption, blank, headings, rule, *rows = markdown(MEASURED).splitlines()
    assert "5 s" in caption
    assert blank == ""
    assert headings.startswith("| chain | requests/s | × haproxy-h1 | CPU out |")
    assert rule.count("|") == headings.count("|")
    assert rows[2] == f"| fastproxy, http (envelope v2) | {' | '.join(CELLS)} |"
    assert "| – |" in rows[0]


def test_json_carries_the_figures() -> None:
    written = json.loads(json.dumps(as_json(MEASURED)))
    assert (written["scenario"], written["load"]) == ("peak", {"connections": 128, "seconds": 5})
    none, _, ours = written["chains"]
    assert ours["ratio"] == {"requests_per_s": {"haproxy-h1": 1.5}}
    assert ours["median"]["cpu_out_us"] == 3010.0
    assert ours["rounds"] == MEASURED.outcomes[2].rounds
    assert none["median"]["cpu_out_us"] is None


def test_chains_are_chosen_by_name_in_their_own_order() -> None:
    assert chosen(None, PEAK) == list(CHAINS)
    memory = SCENARIOS["memory"]
    assert [found.name for found in chosen(None, memory)] == ["fastproxy-link", "fastproxy-http"]
    assert [found.name for found in chosen("nginx-h1, none", memory)] == ["none", "nginx-h1"]
    with pytest.raises(click.BadParameter, match=r"haproxy-h9.*known are.*haproxy-h1"):
        chosen("haproxy-h9", PEAK)


def test_names_of_chains_differ() -> None:
    assert len({found.name for found in CHAINS}) == len(CHAINS)


def test_a_missing_program_is_named_with_its_installation() -> None:
    absent = Tool("no-such-program", "apt-get install no-such-package", "-v")
    with pytest.raises(ToolMissingError, match=r"no-such-program.*apt-get install no-such-package"):
        absent.find()


def test_the_command_runs_scenarios_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Load] = []

    def measure(chain: StandingChain, load: Load) -> Turn:
        asked.append(load)
        return Turn({}, None)

    for name in ("latency", "peak"):
        monkeypatch.setitem(SCENARIOS, name, replace(SCENARIOS[name], measure=measure, warms_up=False))
    files = ["--json", str(tmp_path / "json"), "--markdown", str(tmp_path / "markdown")]
    load = ["--rounds", "1", "--seconds", "1", "--chains", "none"]
    done = CliRunner().invoke(main, ["--scenario", "latency", "--scenario", "peak", *load, *files])
    assert done.exit_code == 0, done.output
    assert asked == [Load(connections=20, seconds=1), Load(connections=128, seconds=1)]
    written = json.loads((tmp_path / "json").read_text())
    assert [scenario["scenario"] for scenario in written["scenarios"]] == ["latency", "peak"]
    assert {"wrk", "nginx"} <= written["run"]["versions"].keys()
    assert (tmp_path / "markdown").read_text().count("| no proxy at all |") == 2
