"""Each scenario, really measured in a small form: every figure that it declares is found, and plausible."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fastproxy.bench.configs import BODY_BYTES, ConfigSize
from fastproxy.bench.credentials import PLACES, issue
from fastproxy.bench.line import request_bytes
from fastproxy.bench.load import LoadError
from fastproxy.bench.peers import CHAINS, Chain
from fastproxy.bench.processes import Fleet
from fastproxy.bench.sampling import COSTS, FORBIDDEN
from fastproxy.bench.scenario import FAILED, POST_SCRIPT, Load, Point, Scenario, Turn
from fastproxy.bench.scenarios import SCENARIOS, soak
from fastproxy.bench.scenarios.bodies import POST_BODY_SCRIPT
from fastproxy.bench.scenarios.ladder import FIELDS_SCRIPT
from fastproxy.bench.standing import StandingChain, stand, start_service
from fastproxy.bench.tools import WRK

SMALL_GIB_BYTES = 4 << 20
SMALL_LOAD = Load(connections=4, seconds=1)
NAMED = {chain.name: chain for chain in CHAINS}
OWN, PEER = NAMED["fastproxy-link"], NAMED["haproxy-h2"]


class Run:
    """Chains that stand before one service; its large file isn't that large."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        (folder / "service").mkdir()
        self._folder = folder
        self._fleet = fleet
        self._service = start_service(folder / "service", fleet)
        os.truncate(self._service.files / "gib", SMALL_GIB_BYTES)
        self._credentials = issue(folder)
        self.none = self.stand("none")
        self.link = self.stand(OWN.name)
        self.large = self.stand(
            OWN.name, ConfigSize(callers=50, routes=250, endpoints=1200, connections=2000)
        )

    def stand(self, name: str, size: ConfigSize | None = None) -> StandingChain:
        size = size or ConfigSize()
        return stand(NAMED[name], self._service, self._folder, self._fleet, self._credentials, size)


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    # A short name: paths of Unix sockets have a limit.
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Fleet() as fleet:
        yield Run(Path(folder), fleet)


def measured(name: str, chain: StandingChain, point: Point | None = None) -> Turn:
    scenario = SCENARIOS[name]
    turn = scenario.measure(chain, SMALL_LOAD, point or scenario.points[0])
    assert turn.fault is None
    declared = {figure.name for figure in scenario.figures}
    assert declared.issuperset(turn.figures)
    assert all(math.isfinite(value) for value in turn.figures.values())
    if chain.proxies:
        assert turn.figures.keys() == declared or turn.figures.get("saturated")
    return turn


def assert_costs(figures: Mapping[str, float]) -> None:
    for place in PLACES:
        # A proxy can't relay a request for less than a microsecond, and doesn't need ten milliseconds.
        assert 1 < figures[f"cpu_{place}_us"] < 10_000
        assert 1 < figures[f"worker_{place}_mib"] < figures[f"resident_{place}_mib"] < 1000


def test_peak(run: Run) -> None:
    figures = measured("peak", run.link).figures
    assert_costs(figures)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]


def test_peak_without_a_proxy(run: Run) -> None:
    assert measured("peak", run.none).figures.keys() == {"requests_per_s", "p50_ms", "p99_ms"}


def test_costs(run: Run) -> None:
    for point in SCENARIOS["costs"].points:
        try:
            figures = measured("costs", run.link, point).figures
        except LoadError as error:  # in most containers
            if FORBIDDEN in str(error):
                return
            raise
        parts_us = sum(figures[f"spent_{cost}_us"] for cost in COSTS)
        assert parts_us == pytest.approx(figures["cpu_us"])
        assert figures["spent_program_us"] > 0
        assert figures["spent_send_us"] > 0


def test_the_largest_costs_are_told_in_words() -> None:
    figures = {f"spent_{cost}_us": float(number) for number, cost in enumerate(COSTS)}
    assert remarks(SCENARIOS["costs"], OWN, figures) == [
        "fastproxy-link, out proxy: 8.0 µs other libraries, 7.0 µs memory and copying (C library), "
        "6.0 µs ciphers, 5.0 µs the event loop, 4.0 µs the program (fastproxy: the interpreter)"
    ]


def test_sweep(run: Run) -> None:
    point = next(point for point in SCENARIOS["sweep"].points if point.name == "32 × 100")
    assert_costs(measured("sweep", run.link, point).figures)


def test_latency(run: Run) -> None:
    figures = measured("latency", run.link).figures
    assert figures["reached_per_s"] > 0
    if not figures["saturated"]:  # a machine that is busy enough doesn't reach any rate
        assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["p999_ms"] <= figures["max_ms"]


def test_a_rate_beyond_reach_gives_no_latencies(run: Run) -> None:
    turn = SCENARIOS["latency"].measure(run.link, SMALL_LOAD, Point("1,000,000/s", 1_000_000))
    assert turn.figures["saturated"] == 1
    assert turn.figures.keys().isdisjoint({"p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"})


@pytest.mark.parametrize("point", [SCENARIOS["bodies"].points[0], SCENARIOS["bodies"].points[4]])
def test_bodies(run: Run, point: Point) -> None:
    figures = measured("bodies", run.link, point).figures
    # Two ends of a cipher can't do ten gigabytes per second on a core.
    assert all(0 < figures[f"{direction}_mb_per_s"] < 10_000 for direction in ("up", "down"))


def test_posted_bodies_have_the_size_that_is_said() -> None:
    """The load's own request, caught by a listener that answers nothing."""
    size_bytes = 100_001
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [str(WRK.find()), "-t1", "-c1", "-d1s", "-s", str(POST_BODY_SCRIPT)]
        command += [f"http://127.0.0.1:{listener.getsockname()[1]}/", "--", str(size_bytes)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as wrk:
            first = b""
            while not first:  # wrk opens one connection only to see whether anyone is there
                caller, _ = listener.accept()
                with caller, caller.makefile("rb") as stream:
                    first = stream.readline()
                    if first:
                        length = next(
                            int(line[15:]) for line in stream if line.startswith(b"Content-Length:")
                        )
                        assert length == size_bytes
            wrk.kill()


def test_files_have_the_size_that_is_said(run: Run) -> None:
    for size in BODY_BYTES:
        assert (run.none.files / str(size)).stat().st_size == size


def test_soak(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "REST_S", 0.0)
    turn = measured("soak", run.link)
    for place in PLACES:
        series = turn.series[f"resident_{place}_mib"]
        assert len(series) >= 3  # before, beside the load, after
        assert [at_s for at_s, _ in series] == sorted(at_s for at_s, _ in series)
        assert turn.figures[f"under_{place}_mib"] == max(mib for _, mib in series[:-1])
        ratio = turn.figures[f"after_{place}_mib"] / turn.figures[f"before_{place}_mib"]
        assert turn.figures[f"after_to_before_{place}"] == pytest.approx(ratio)


@pytest.mark.parametrize("name", ["soak", "memory", "costs"])
def test_memory_needs_a_proxy(run: Run, name: str) -> None:
    with pytest.raises(LoadError, match="no proxy"):
        measured(name, run.none)


def test_memory(run: Run) -> None:
    assert all(abs(mib) < 1000 for mib in measured("memory", run.link).figures.values())


def test_fairness(run: Run) -> None:
    figures = measured("fairness", run.link).figures
    kept = figures["huge_requests_per_s"] / figures["alone_requests_per_s"]
    assert figures["huge_kept"] == pytest.approx(kept)
    assert figures["huge_mb_per_s"] > 0


@pytest.mark.parametrize(
    ("name", "point"),
    [
        ("ladder-connections", Point("60", 60)),
        ("ladder-headers", Point("100", 100)),
        ("ladder-callers", Point("50", 50)),
    ],
)
def test_ladders(run: Run, name: str, point: Point) -> None:
    """With many of everything in the configs, which is the same for all."""
    figures = measured(name, run.large, point).figures
    assert_costs(figures)
    assert figures["start_s"] > 0


def test_each_ladder_grows_its_own_quantity() -> None:
    for quantity in ("callers", "routes", "endpoints"):
        for point in SCENARIOS[f"ladder-{quantity}"].points:
            assert point.size == replace(ConfigSize(), **{quantity: round(point.value)})
    for point in SCENARIOS["ladder-connections"].points:
        assert point.size.connections >= point.value


class Told:
    """What a run found about one chain, as a verdict sees it."""

    def __init__(self, chain: Chain, figures: Mapping[Point, Mapping[str, float]]) -> None:
        self.chain = chain
        self.points: Sequence[Point] = tuple(figures)
        self._figures = figures

    def median_of(self, figure: str, point: Point) -> float | None:
        return self._figures[point].get(figure)


def remarks(scenario: Scenario, chain: Chain, *figures: Mapping[str, float]) -> list[str]:
    """The verdict on figures at the scenario's first points, as many as there are."""
    return scenario.verdict([Told(chain, dict(zip(scenario.points, figures, strict=False)))])


def test_memory_that_does_not_come_back_is_a_failure_of_ours() -> None:
    ratios = {"after_to_before_out": 1.11, "after_to_before_in": 1.09}
    (remark,) = remarks(SCENARIOS["soak"], OWN, ratios)
    assert remark.startswith(f"{FAILED}{OWN.name}: 30 s after the load the out proxy")
    (remark,) = remarks(SCENARIOS["soak"], PEER, ratios)
    assert remark.startswith(PEER.name)


def test_the_lowest_rate_that_is_not_reached_is_named() -> None:
    reached = {"saturated": 0.0, "reached_per_s": 500.0, "p99_ms": 2.0, "lag_p99_ms": 0.1}
    missed = {"saturated": 1.0, "reached_per_s": 812.3}
    assert remarks(SCENARIOS["latency"], PEER, reached, missed, missed) == [
        "haproxy-h2 is saturated at 1,000/s: it reaches 812/s"
    ]
    assert remarks(SCENARIOS["latency"], PEER, reached) == []


def test_a_generator_that_is_late_is_told() -> None:
    late = {"saturated": 0.0, "reached_per_s": 500.0, "p99_ms": 2.0, "lag_p99_ms": 1.5}
    (remark,) = remarks(SCENARIOS["latency"], PEER, late)
    assert "generator itself sent late" in remark


def costs(*cpu_in_us: float) -> list[dict[str, float]]:
    """Figures with these costs of the in proxy, at the steps of a ladder."""
    return [{"cpu_out_us": 30.0, "cpu_in_us": cost} for cost in cpu_in_us]


@pytest.mark.parametrize("quantity", ["callers", "routes", "endpoints"])
@pytest.mark.parametrize(
    ("cpu_in_us", "words"),
    [
        ((30.0, 31.0, 45.0, 140.0), ("grows like n^0.3", "4.7 times as much at 100,000 as at 1:")),
        ((30.0, 90.0, 90.0, 90.0), ("is constant", "3.0 times as much at 100,000 as at 1:")),
    ],
)
def test_a_request_that_costs_more_among_many_is_a_failure(
    quantity: str, cpu_in_us: tuple[float, ...], words: tuple[str, str]
) -> None:
    failure, orders = remarks(SCENARIOS[f"ladder-{quantity}"], OWN, *costs(*cpu_in_us))
    order, ratio = words
    assert failure.startswith(f"{FAILED}{OWN.name}: CPU per request of the in proxy {order} in {quantity}")
    assert ratio in failure
    assert orders.startswith(f"{OWN.name}, by {quantity}: ")


def test_a_request_that_costs_the_same_among_many_is_none() -> None:
    (orders,) = remarks(SCENARIOS["ladder-callers"], OWN, *costs(30.0, 33.0, 36.0, 34.0))
    assert "CPU per request of the in proxy is constant" in orders


def test_costs_may_grow_with_headers() -> None:
    (orders,) = remarks(SCENARIOS["ladder-headers"], OWN, *costs(30.0, 35.0, 50.0, 100.0, 200.0))
    assert "CPU per request of the in proxy is linear" in orders


def test_a_ladder_broken_off_states_no_order() -> None:
    assert remarks(SCENARIOS["ladder-callers"], OWN, *costs(30.0, 33.0)) == []


def test_what_scenarios_name_exists() -> None:
    for scenario in SCENARIOS.values():
        figures = {figure.name for figure in scenario.figures}
        assert NAMED.keys() >= {*scenario.baselines, *(scenario.chains or ())}
        series = {plot.name for plot in SCENARIOS["soak"].plots}
        assert (figures | series).issuperset(plot.name for plot in scenario.plots)
        assert set(scenario.points).issuperset(scenario.quick_points)
        assert len({point.name for point in scenario.points}) == len(scenario.points)


def test_a_full_run_fits_into_its_time() -> None:
    """Forty minutes, a warm-up of two seconds where there is one, every chain in turn."""
    total_s = 0.0
    for scenario in SCENARIOS.values():
        chains = len(CHAINS) if scenario.chains is None else len(scenario.chains)
        stands_s = [scenario.stand_s(point) for point in scenario.points]
        turns_s = [scenario.turn_s(scenario.load, point) for point in scenario.points]
        per_chain_s = sum(stands_s) if scenario.stands_anew else stands_s[0]
        per_chain_s += scenario.rounds * sum(turns_s) + 2 * scenario.warms_up
        total_s += chains * per_chain_s
    assert total_s < 40 * 60


def test_all_loads_send_the_request_of_the_record() -> None:
    script, request = POST_SCRIPT.read_text(), request_bytes(80).decode()
    assert 'wrk.body = "param=hello"' in script
    assert request.endswith("\r\n\r\nparam=hello")
    own_script = FIELDS_SCRIPT.read_text()
    for line in script.splitlines():
        assert line in own_script
        if line.startswith("wrk.headers"):
            _, name, _, value, _ = line.split('"')
            assert f"\r\n{name}: {value}\r\n" in request
