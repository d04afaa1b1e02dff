"""Prometheus's own tools have nothing to find fault with: metrics of both proxies, rules, their tests."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.e2e.client import fetch
from tests.e2e.compat.parties import Party
from tests.e2e.metrics.conftest import ask
from tests.e2e.proxies import Pair, ProxyProcess, endpoint_of
from tests.e2e.services import ScriptedService, answering, sized

ROOT = Path(__file__).parents[3]
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
ALERTS_TEST = ROOT / "tests/data/alerts_test.yaml"


@pytest.fixture(scope="module")
def over_compat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ProxyProcess, ProxyProcess]]:
    """A pair over wire format v1 that has carried a call and refused one."""
    with ExitStack() as stack:
        service = stack.enter_context(ScriptedService(answering(sized(b"served"))))
        admin = {"admin": {"address": "127.0.0.1:0"}}
        party = Party(stack, tmp_path_factory)
        inner = party.in_proxy({"echo": service.endpoint}, **admin)
        address = endpoint_of(inner.listen)
        out = party.out_proxy(["echo"], address, **admin)
        caller = next(iter(out.config["callers"]["names"]))
        for name in (caller, "nobody"):
            fetch(out.listen, "GET", "/echo/x", None, [f"X-Caller: {name}"])
        yield out, inner


def check(promtool: Path, proxy: ProxyProcess) -> None:
    answer = fetch(proxy.admin, "GET", "/metrics", None, ["accept: text/plain"], "localhost")
    assert answer.get("content-type").startswith("text/plain; version=0.0.4")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=answer.body, capture_output=True, timeout=60
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    text = proxy.probe("/metrics").body.decode()
    families = list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    counted = [family.name for family in families if family.samples]
    assert {"fastproxy_requests", "fastproxy_own_duration_seconds", "fastproxy_build"} <= set(counted)


def test_metrics_of_a_pair_over_link_and_envelopes(pair: Pair, promtool: Path) -> None:
    for target in ("/api/open/x", "/old/open/x", "/api/none"):
        ask(pair, target)
    for proxy in (pair.out, pair.inner):
        check(promtool, proxy)


def test_metrics_of_a_pair_over_compat(
    over_compat: tuple[ProxyProcess, ProxyProcess], promtool: Path
) -> None:
    for proxy in over_compat:
        check(promtool, proxy)


def test_rules_are_well_formed(promtool: Path) -> None:
    checked = subprocess.run([promtool, "check", "rules", ALERTS], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_alerts_fire_when_they_should_and_not_before(promtool: Path, tmp_path: Path) -> None:
    for file in (ALERTS, ALERTS_TEST):
        shutil.copy(file, tmp_path)
    command = [str(promtool), "test", "rules", str(tmp_path / ALERTS_TEST.name)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
