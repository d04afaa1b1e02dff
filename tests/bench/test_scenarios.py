"""Each scenario on a real chain: every figure that it declares is found; and what scenarios rest on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fastproxy.bench.configs import FILE_BYTES
from fastproxy.bench.credentials import issue
from fastproxy.bench.load import LoadError
from fastproxy.bench.peers import CHAINS, service_command
from fastproxy.bench.processes import Fleet, await_answer, pick_ports
from fastproxy.bench.scenario import POST_SCRIPT, Load, Turn
from fastproxy.bench.scenarios import SCENARIOS, memory
from fastproxy.bench.scenarios.bodies import POST_MIB_SCRIPT
from fastproxy.bench.standing import StandingChain, stand
from fastproxy.bench.steady import request_bytes

SMALL_GIB_BYTES = 4 << 20


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandingChain]:
    """HAProxy with HTTP/1.1 between, before a service whose large file isn't that large."""
    folder = tmp_path_factory.mktemp("run")
    (service_port,) = pick_ports(1)
    (wanted,) = (chain for chain in CHAINS if chain.name == "haproxy-h1")
    with Fleet() as fleet:
        service = fleet.start(service_command(service_port, folder), folder / "log")
        await_answer(service_port, [service])
        os.truncate(folder / "files" / "gib", SMALL_GIB_BYTES)
        yield stand(wanted, service_port, folder / "files", folder, fleet, issue(folder))


def measured(name: str, chain: StandingChain) -> Turn:
    scenario = SCENARIOS[name]
    turn = scenario.measure(chain, Load(connections=4, seconds=1))
    assert turn.fault is None
    assert turn.figures.keys() == {figure.name for figure in scenario.figures}
    return turn


def test_latency(chain: StandingChain) -> None:
    figures = measured("latency", chain).figures
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]


def test_bodies(chain: StandingChain) -> None:
    figures = measured("bodies", chain).figures
    # Two ends of TLS 1.3 can't do ten gigabytes per second on a core, and a megabyte is no hour's work.
    assert all(1 < figures[f"{direction}_mb_per_s"] < 10_000 for direction in ("up", "down"))


def test_memory(chain: StandingChain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "REST_S", 0)
    figures = measured("memory", chain).figures
    for place in ("out", "in"):
        # Half: the kernel counts what is resident now less exactly than the peak.
        assert figures[f"under_{place}_mib"] > figures[f"before_{place}_mib"] / 2 > 1
        ratio = figures[f"after_{place}_mib"] / figures[f"before_{place}_mib"]
        assert figures[f"after_to_before_{place}"] == pytest.approx(ratio)


def test_memory_needs_a_proxy(chain: StandingChain) -> None:
    bare = StandingChain(chain.chain, chain.port, chain.files)
    with pytest.raises(LoadError, match="no proxy"):
        SCENARIOS["memory"].measure(bare, Load(connections=4, seconds=1))


def test_fairness(chain: StandingChain) -> None:
    figures = measured("fairness", chain).figures
    kept = figures["huge_requests_per_s"] / figures["alone_requests_per_s"]
    assert figures["huge_kept"] == pytest.approx(kept)
    assert figures["huge_mb_per_s"] > 0


def test_baselines_and_chains_exist() -> None:
    names = {chain.name for chain in CHAINS}
    for scenario in SCENARIOS.values():
        assert names.issuperset(scenario.baselines)
        assert names.issuperset(scenario.chains or ())


def test_both_loads_send_the_request_of_the_record() -> None:
    script, request = POST_SCRIPT.read_text(), request_bytes(80).decode()
    assert 'wrk.body = "param=hello"' in script
    assert request.endswith("\r\n\r\nparam=hello")
    for line in script.splitlines():
        if line.startswith("wrk.headers"):
            _, name, _, value, _ = line.split('"')
            assert f"\r\n{name}: {value}\r\n" in request


def test_the_large_body_is_as_large_as_the_file() -> None:
    _, quoted, repeats = POST_MIB_SCRIPT.read_text().splitlines()[1].split('"')
    assert len(quoted) * int(repeats.strip(", )")) == FILE_BYTES["mib"]
