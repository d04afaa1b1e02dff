"""How keys were used is counted within bounds, and what isn't told apart is never taken for unused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from fastproxy.telemetry.exposition import render
from fastproxy.telemetry.key_uses import CALLER, OTHER, OWN, KeyUse, KeyUses, Row, past_uses, total_uses
from fastproxy.telemetry.metrics import Metrics
from fastproxy.telemetry.state import counted, state_of, total

LIMIT = 8


def last_use(uses: list[KeyUse], row: Row) -> float:
    """When a key was used last, as far as these tell: as `fastproxy keys rotate` takes it."""
    by_row = {use.row: use for use in uses}
    found = by_row.get(row) or by_row.get(Row(row.kind, OTHER, OTHER))
    return found.last_unix_s if found else 0.0


def test_what_is_there_was_there_last_now() -> None:
    now_s = 1.0
    uses = KeyUses(lambda: now_s)
    uses.begin(CALLER, "web", b"\1")
    uses.begin(CALLER, "web", b"\1")
    now_s = 5.0
    uses.end(CALLER, "web", b"\1")
    now_s = 9.0
    assert uses.all() == [KeyUse(Row(CALLER, "web", "01"), 2, 1, 9.0, 1.0)]
    uses.end(CALLER, "web", b"\1")
    now_s = 20.0
    assert uses.all() == [KeyUse(Row(CALLER, "web", "01"), 2, 0, 9.0, 1.0)]


Steps = st.lists(st.tuples(st.sampled_from(["begin", "end", "mark"]), st.integers(0, 30)), max_size=120)


@given(Steps)
def test_no_key_is_taken_for_unused_that_was_used(steps: list[tuple[str, int]]) -> None:
    now_s = 0.0
    uses = KeyUses(lambda: now_s, LIMIT)
    begun: dict[int, int] = {}
    used: dict[int, float] = {}
    for kind, number in steps:
        now_s += 1
        if kind == "end" and not begun.get(number):
            continue
        begun[number] = begun.get(number, 0) + {"begin": 1, "end": -1, "mark": 0}[kind]
        used[number] = now_s
        getattr(uses, kind)(OWN, "web", bytes((number,)))
    now_s += 1
    found = uses.all()
    assert len(found) <= LIMIT + 1
    for number, last_s in used.items():
        row = Row(OWN, "web", f"{number:02x}")
        assert last_use(found, row) >= (now_s if begun[number] else last_s)
    assert sum(use.made for use in found) == sum(kind != "end" for kind, _ in steps)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 100), st.booleans()), max_size=60))
def test_totals_are_bounded_and_take_no_key_for_unused(uses: list[tuple[int, int, bool]]) -> None:
    states = [
        KeyUse(Row(CALLER, "web", f"{number:02x}"), 1, int(is_open), float(last_s))
        for number, last_s, is_open in uses
    ]
    found = total_uses(states, LIMIT)
    closed = [use for use in found if not use.open]
    assert len(closed) <= LIMIT + 1
    for use in states:
        assert last_use(found, use.row) >= use.last_unix_s
    assert sum(use.made for use in found) == len(states)
    assert sum(use.open for use in found) == sum(use.open for use in states)


def test_what_stays_of_a_process_that_has_ended() -> None:
    row = Row(OWN, "web", "01")
    assert past_uses([KeyUse(row, 5, 3, 8.0)]) == [KeyUse(row, 5, 0, 8.0)]


def test_what_processes_have_counted_is_shown_as_one() -> None:
    """Two workers that run, and one that has ended with a link open."""
    states = []
    for key, still in ((b"\1", True), (b"\1", False), (b"\2", True)):
        metrics = Metrics("in", "1", [], [])
        metrics.key_uses.begin(CALLER, "web", key)
        if not still:
            metrics.key_uses.end(CALLER, "web", key)
        states.append(state_of(metrics, "worker"))
    summed = total([*states[:2], counted(states[2])], "in", "1")
    found = {
        (family.name, sample.labels["key_id"]): sample.value
        for family in text_string_to_metric_families(render(summed).decode())  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.labels.get("kind") == CALLER and sample.labels["name"] == "web"
    }
    last = "fastproxy_key_last_use_timestamp_seconds"
    for key_id, made, still_open in (("01", 2, 1), ("02", 1, 0)):
        assert found["fastproxy_key_uses", key_id] == made
        assert found["fastproxy_key_uses_open", key_id] == still_open
        assert found[last, key_id] > 0
