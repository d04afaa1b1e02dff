"""What processes have counted, taken from each, sent, and added up."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.telemetry.metrics import DURATION_BOUNDS_S, GAUGES, TALLIES, Metrics
from fastproxy.telemetry.state import State, counted, state_of, total

NAMES = ("chat", "song")
STATUSES = (0, 200, 204, 403, 502)
CAUSES = ("", "no_privilege", "rate_limited")

finished = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from(STATUSES),
    st.sampled_from((0.0004, 0.003, 99.0)),
    st.integers(0, 9),
    st.sampled_from(CAUSES),
)
processes = st.lists(st.lists(finished, max_size=8), min_size=1, max_size=4)


def metrics_of(exchanges: list[tuple[str, int, float, int, str]]) -> Metrics:
    """The metrics of a process that has carried these: caller, status, seconds, bytes, cause."""
    metrics = Metrics("in", "1", NAMES, ["search"])
    for caller, status, duration_s, size, cause in exchanges:
        series = metrics.series(caller, "search")
        series.finish(status, duration_s, duration_s / 2, size, 2 * size, cause)
        series.retries += 1
        if cause:
            series.refuse(cause)
            series.report(cause)
        metrics.challenges += 1
    metrics.count("fastproxy_links_ended", {"idle": len(exchanges)})
    return metrics


def plain(state: State) -> object:
    """What can be compared: without what this test's process takes, in one order."""
    state.resident_bytes, state.cpu_s = {}, 0.0
    by_name = sorted(state.series, key=lambda one: (one.caller, one.service))
    for one in by_name:
        one.outcomes.sort(key=lambda outcome: (outcome.outcome, outcome.cause))
        for outcome in one.outcomes:
            outcome.sum_s = round(outcome.sum_s, 6)
    state.series = [one for one in by_name if one.outcomes]
    for by_label in state.histograms.values():
        for histogram in by_label.values():
            histogram.sum_s = round(histogram.sum_s, 6)
    state.histograms = {
        name: {label: one for label, one in by_label.items() if any(one.counts)}
        for name, by_label in state.histograms.items()
    }
    state.tallies = {name: {label: count for label, count in counts.items() if count}
                     for name, counts in state.tallies.items()}  # fmt: skip
    return msgspec.to_builtins(state)


@given(processes)
def test_several_processes_count_as_one_that_has_carried_all(
    carried: list[list[tuple[str, int, float, int, str]]],
) -> None:
    states = [state_of(metrics_of(exchanges), "") for exchanges in carried]
    alone = state_of(metrics_of([exchange for exchanges in carried for exchange in exchanges]), "")
    assert plain(total(states, "in", "1")) == plain(alone)


@given(processes)
def test_it_does_not_matter_what_is_added_first_nor_what_has_ended(
    carried: list[list[tuple[str, int, float, int, str]]],
) -> None:
    states = [state_of(metrics_of(exchanges), "") for exchanges in carried]
    ended = State("in", "1")
    for state in states:
        ended = total((ended, counted(state)), "in", "1")
    assert plain(ended) == plain(total(reversed(states), "in", "1"))


@given(processes)
def test_what_is_added_up_stays_as_it_was(carried: list[list[tuple[str, int, float, int, str]]]) -> None:
    states = [state_of(metrics_of(exchanges), "") for exchanges in carried]
    before = msgspec.msgpack.encode(states)
    total(states, "in", "1")
    total(states, "in", "1")
    assert msgspec.msgpack.encode(states) == before


def test_a_state_survives_being_sent() -> None:
    metrics = metrics_of([("chat", 200, 0.001, 5, ""), ("song", 403, 1.0, 0, "no_privilege")])
    metrics.watch("fastproxy_in_flight", lambda: 3)
    metrics.watch("fastproxy_endpoints", lambda: None, "search")
    metrics.show("fastproxy_key_not_after_seconds", lambda: {("caller", "chat"): 5.0})
    state = state_of(metrics, "worker 3")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=State) == state
    assert state.levels["fastproxy_endpoints"] == {}, "there is none now"
    assert list(state.resident_bytes) == ["worker 3"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("fastproxy_in_flight", 7),
        ("fastproxy_connections_open", 7),
        ("fastproxy_links_open", 7),
        ("fastproxy_endpoints", 5),
        ("fastproxy_discovery_age_seconds", 5),
        ("fastproxy_compat_weaknesses", 5),
        ("fastproxy_compat_claimed_callers", 5),
    ],
)
def test_levels_are_added_up_but_where_all_have_the_same(name: str, shown: float) -> None:
    states = []
    for value in (2.0, 5.0):
        metrics = Metrics("in", "1", [], [])
        metrics.watch(name, lambda value=value: value)  # type: ignore[misc]
        states.append(state_of(metrics, ""))
    assert total(states, "in", "1").levels[name] == {"": shown}


def test_of_a_keys_end_the_earliest_is_shown() -> None:
    states = []
    for dates in ({("caller", "chat"): 9.0}, {("caller", "chat"): 4.0, ("caller", "song"): 7.0}):
        metrics = Metrics("in", "1", [], [])
        metrics.show("fastproxy_key_not_after_seconds", lambda dates=dates: dates)  # type: ignore[misc]
        states.append(state_of(metrics, ""))
    shown = dict(total(states, "in", "1").listed["fastproxy_key_not_after_seconds"])
    assert shown == {("caller", "chat"): 4.0, ("caller", "song"): 7.0}


def test_what_a_process_measured_of_itself_ends_with_it() -> None:
    metrics = metrics_of([("chat", 200, 0.001, 5, "")])
    for name in GAUGES.keys() - {"fastproxy_key_not_after_seconds"}:
        metrics.watch(name, lambda: 1.0)
    metrics.watch("fastproxy_connections_accepted", lambda: 3.0)
    state = state_of(metrics, "worker 0")
    left = counted(state)
    assert (left.levels, left.listed, left.resident_bytes) == ({}, {}, {})
    assert left.tallies == state.tallies
    assert left.cpu_s == state.cpu_s > 0
    assert left.tallies.keys() <= TALLIES.keys()


def test_a_process_that_has_ended_is_counted_once() -> None:
    state = state_of(metrics_of([("chat", 200, 0.001, 5, "")] * 3), "worker 0")
    (chat,) = [one for one in total((counted(state), state), "in", "1").series if one.caller == "chat"]
    assert [sum(outcome.counts) for outcome in chat.outcomes] == [6]
    assert [len(outcome.counts) for outcome in chat.outcomes] == [len(DURATION_BOUNDS_S) + 1]
