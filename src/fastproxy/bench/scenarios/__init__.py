"""The scenarios, one kind per file; `SCENARIOS` lists them. One is added by a file and a row."""

from __future__ import annotations

from fastproxy.bench.scenario import Scenario
from fastproxy.bench.scenarios.bodies import BODIES
from fastproxy.bench.scenarios.costs import COSTS_OF_A_HOP
from fastproxy.bench.scenarios.fairness import FAIRNESS
from fastproxy.bench.scenarios.ladder import LADDERS
from fastproxy.bench.scenarios.latency import LATENCY
from fastproxy.bench.scenarios.memory import MEMORY
from fastproxy.bench.scenarios.peak import PEAK, SWEEP
from fastproxy.bench.scenarios.soak import SOAK

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (PEAK, COSTS_OF_A_HOP, SWEEP, LATENCY, BODIES, SOAK, MEMORY, FAIRNESS, *LADDERS)
}
