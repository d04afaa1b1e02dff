"""The page about the command names all that there is to choose."""

from __future__ import annotations

from pathlib import Path

from fastproxy.bench.peers import CHAINS
from fastproxy.bench.scenarios import SCENARIOS
from fastproxy.cli.bench import bench

PAGE = Path(__file__).parents[2] / "docs" / "benchmark.md"


def test_every_option_chain_and_scenario_is_documented() -> None:
    text = PAGE.read_text()
    options = [option for parameter in bench.params for option in parameter.opts if option != "--help"]
    assert "--resume" in options
    wanted = [f"`{option}" for option in options]
    wanted += [f"`{chain.name}`" for chain in CHAINS] + [f"`{name}`" for name in SCENARIOS]
    assert [name for name in wanted if name not in text] == []
