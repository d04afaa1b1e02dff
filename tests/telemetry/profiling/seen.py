"""What a profile says of functions, whatever made it."""

from __future__ import annotations

from msgspec.structs import replace

from fastproxy.telemetry.profiling.profile import Profile


def values_of(profile: Profile, function: str) -> list[int]:
    """Sum what was seen at stacks in which a function occurs. function: the end of its name."""
    places = {place for place, frame in enumerate(profile.frames) if frame.function.endswith(function)}
    found = [sample.values for sample in profile.samples if places & set(sample.stack)]
    return [sum(column) for column in zip(*found, strict=True)] or [0] * len(profile.types)


def total(profile: Profile) -> list[int]:
    """Sum what was seen."""
    return [sum(column) for column in zip(*(sample.values for sample in profile.samples), strict=True)]


def of_worker(profile: Profile, worker: str) -> Profile:
    """What was seen in one of several processes."""
    return replace(profile, samples=[sample for sample in profile.samples if sample.worker == worker])


def workers_in(profile: Profile) -> set[str]:
    """Those in which something was seen."""
    return {sample.worker for sample in profile.samples}
