"""Faults that a policy decides on: no privilege, over the rate, past the deadline before anything began."""

from __future__ import annotations

import pytest

from tests.e2e.client import Answer
from tests.e2e.conftest import Maker
from tests.e2e.faults.fault import IN, OUT, TELLING, Fault, Scene, check
from tests.e2e.proxies import Config
from tests.e2e.services import answering, sized

PER_S = 0.001


def once_too_often(scene: Scene) -> Answer:
    """Call until a call is over the rate."""
    while (answer := scene.fetch("GET", "/api/limited")).status == 200:
        pass
    return answer


FAULTS = [
    Fault(
        name="no privilege on the route",
        inject=lambda scene: scene.fetch("DELETE", "/api/open/x"),
        cause="no_privilege", hop=IN, phase="privilege", detail="web",
    ),
    Fault(
        name="over the rate",
        inject=once_too_often,
        cause="rate_limited", hop=IN, phase="rate", detail="0.001 per second",
        numbers={"per_s": PER_S, "burst": 1, "retry_after_s": None},
    ),
    Fault(
        name="no time left when the request came",
        inject=lambda scene: scene.fetch("GET", "/api/open/x", headers=["request_dead_time: 1000000000"]),
        cause="deadline_exceeded", hop=OUT, phase="deadline", detail="when the request arrived",
        numbers={"timeout_s": 15, "budget_left_s": None},
    ),
]  # fmt: skip


@pytest.fixture(scope="module", params=["link", "http"])
def scene(make_shared: Maker, request: pytest.FixtureRequest) -> Scene:
    """A pair with privileges, over each way between the proxies."""
    service = make_shared.service(answering(sized(b"fine")))
    granted: Config = {"callers": ["*"], "services": ["api"]}
    privileges = [
        granted | {"methods": ["GET"], "paths": ["/open/**"]},
        granted | {"paths": ["/limited"], "rate": {"per_s": PER_S, "burst": 1}},
    ]
    pair = make_shared.pair(
        {"api": [service.endpoint]},
        out=TELLING | {"defaults": {"transport": request.param}},
        inner=TELLING | {"privileges": privileges},
    )
    return Scene(pair.out, pair.inner)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_policy_refuses_is_told_for_what_it_is(scene: Scene, fault: Fault) -> None:
    check(fault, scene)
