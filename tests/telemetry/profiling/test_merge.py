"""Profiles of several processes become one: nothing is lost, and each sample says whose it is."""

from __future__ import annotations

from msgspec.structs import replace

from fastproxy.telemetry.profiling.merge import merge
from fastproxy.telemetry.profiling.profile import Frame, Sample
from tests.telemetry.profiling.test_pprof import PROFILE


def test_frames_are_shared_and_samples_keep_apart() -> None:
    other = replace(
        PROFILE,
        frames=[Frame("(task)"), Frame("b.other", "/b.py", 3, 2), *PROFILE.frames[1:2]],
        samples=[Sample([1, 2, 0], [7, 70])],
        comments=["another"],
    )
    merged = merge({"worker 0": PROFILE, "worker 2": other})
    seen = [
        ([merged.frames[place].function for place in sample.stack], sample.values, sample.worker)
        for sample in merged.samples
    ]
    assert seen == [
        (["a.inner", "a.outer", "(task)"], [3, 30], "worker 0"),
        (["a.outer", "(task)"], [1, 10], "worker 0"),
        (["b.other", "a.outer", "(task)"], [7, 70], "worker 2"),
    ]
    assert len(merged.frames) == len(set(merged.frames)) == 4
    assert merged.comments == ["worker 0: a remark", "worker 2: another"]
    assert (merged.types, merged.shown) == (PROFILE.types, PROFILE.shown)
    assert (merged.period_type, merged.period) == (PROFILE.period_type, PROFILE.period)


def test_the_whole_begins_with_the_first_and_is_as_long_as_the_longest() -> None:
    later = replace(PROFILE, started_unix_ns=PROFILE.started_unix_ns + 5, duration_ns=PROFILE.duration_ns + 7)
    for order in ((PROFILE, later), (later, PROFILE)):
        merged = merge({f"worker {number}": profile for number, profile in enumerate(order)})
        assert (merged.started_unix_ns, merged.duration_ns) == (PROFILE.started_unix_ns, later.duration_ns)


def test_what_is_merged_stays_as_it_was() -> None:
    before = replace(PROFILE, samples=list(PROFILE.samples), comments=list(PROFILE.comments))
    merge({"worker 0": PROFILE}).comments.append("a word")
    assert before == PROFILE
