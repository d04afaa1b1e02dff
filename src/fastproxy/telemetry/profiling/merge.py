"""One profile of those of several processes that did the same work at the same time."""

from __future__ import annotations

from collections.abc import Mapping

from fastproxy.telemetry.profiling.profile import Frame, Profile, Sample


def merge(profiles: Mapping[str, Profile]) -> Profile:
    """Put profiles of one kind together; samples and comments say whose they are.

    Args:
        profiles: by the name of the worker; at least one.
    """
    first = next(iter(profiles.values()))
    frames: dict[Frame, int] = {}
    samples: list[Sample] = []
    comments: list[str] = []
    for worker, profile in profiles.items():
        places = [frames.setdefault(frame, len(frames)) for frame in profile.frames]
        for sample in profile.samples:
            samples.append(Sample([places[place] for place in sample.stack], sample.values, worker))
        comments.extend(f"{worker}: {comment}" for comment in profile.comments)
    return Profile(
        types=first.types,
        shown=first.shown,
        period_type=first.period_type,
        period=first.period,
        started_unix_ns=min(profile.started_unix_ns for profile in profiles.values()),
        duration_ns=max(profile.duration_ns for profile in profiles.values()),
        frames=list(frames),
        samples=samples,
        comments=comments,
    )
