"""What `fastproxy top` knows: readings of admin addresses, and what happened between two of them.

Knows nothing of how it is shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import click

from fastproxy.cli.admin_request import request
from fastproxy.cli.profile_target import Target

FULL = 0.8
"""From that part on a limit is close to full."""
FAILURES = 8
"""That are shown, those that are alike as one."""
_PARTS = ("proxy", "traffic", "limits", "links", "failures?limit=50")
Told = dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """What one proxy said.

    at: what it was asked as. at_s: when, monotonic time in seconds. why: why there is nothing, "" when there
    is. The rest is as the admin API has it.
    """

    at: str
    at_s: float
    why: str = ""
    proxy: Told = field(default_factory=dict)
    traffic: Told = field(default_factory=dict)
    limits: Told = field(default_factory=dict)
    links: Told = field(default_factory=dict)
    failures: Told = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """Who calls whom, as one proxy has counted it between two readings.

    per_s: exchanges a second. errors: part of them that failed, 0 to 1. p50_s, p99_s: quantiles of what they
    took, None without any; is_beyond: p99 is longer than what is counted apart.
    """

    hop: str
    caller: str
    service: str
    route: str
    per_s: float
    errors: float
    p50_s: float | None
    p99_s: float | None
    is_beyond: bool


def read_all(targets: Mapping[str, Target]) -> list[Reading]:
    """Ask all proxies, at the same time: one that is slow holds up no other."""
    with ThreadPoolExecutor(len(targets)) as pool:
        return list(pool.map(_read, targets, targets.values()))


def _read(name: str, target: Target) -> Reading:
    at_s = time.monotonic()
    told: list[Told] = []
    for part in _PARTS:
        try:
            status, content = request(target, f"/api/v1/{part}")
            document = json.loads(content)
        except click.ClickException as error:
            return Reading(name, at_s, error.message)
        except ValueError:
            return Reading(name, at_s, "it is no proxy of this version")
        if status != 200:
            return Reading(name, at_s, f"it says {status}: {document.get('detail', '')}")
        told.append(document)
    return Reading(name, at_s, "", *told)


def calls_between(earlier: Sequence[Reading], later: Sequence[Reading]) -> list[Call]:
    """Return who called whom between two readings of the same proxies."""
    before = {reading.at: reading for reading in earlier}
    calls: list[Call] = []
    for reading in later:
        former = before.get(reading.at)
        if reading.why or former is None or former.why:
            continue
        passed_s = max(reading.at_s - former.at_s, 0.001)
        known = {_key(row): row for row in former.traffic["rows"]}
        bounds_s = reading.traffic["bounds_s"]
        hop = reading.proxy["name"]
        for row in reading.traffic["rows"]:
            calls.append(_call(hop, row, known.get(_key(row)), bounds_s, passed_s))
    return calls


def _key(row: Told) -> tuple[str, str, str]:
    return row["caller"], row["service"], row["route"]


def _call(hop: str, row: Told, former: Told | None, bounds_s: Sequence[float], passed_s: float) -> Call:
    known = {} if former is None else {(one["outcome"], one["cause"]): one for one in former["outcomes"]}
    counts = [0] * (len(bounds_s) + 1)
    failed = 0
    for one in row["outcomes"]:
        earlier = known.get((one["outcome"], one["cause"]))
        # Numbers only go up; where they don't, another proxy has taken its place.
        is_same = earlier is not None and earlier["count"] <= one["count"]
        buckets = earlier["buckets"] if earlier is not None and is_same else [0] * len(counts)
        new = [now - then for now, then in zip(one["buckets"], buckets, strict=True)]
        counts = [count + more for count, more in zip(counts, new, strict=True)]
        if one["cause"] or one["outcome"] in ("5xx", "aborted"):
            failed += sum(new)
    total = sum(counts)
    p99_s, is_beyond = _quantile(counts, bounds_s, 0.99)
    return Call(
        hop,
        *_key(row),
        total / passed_s,
        failed / total if total else 0.0,
        _quantile(counts, bounds_s, 0.5)[0],
        p99_s,
        is_beyond,
    )


def _quantile(counts: Sequence[int], bounds_s: Sequence[float], part: float) -> tuple[float | None, bool]:
    """Return a quantile of a histogram, and whether it is beyond the last bound."""
    left = part * sum(counts)
    if not left:
        return None, False
    lower_s = 0.0
    for count, upper_s in zip(counts, bounds_s, strict=False):
        if count and count >= left:
            return lower_s + (upper_s - lower_s) * left / count, False
        left -= count
        lower_s = upper_s
    return lower_s, True


def fullest(readings: Iterable[Reading]) -> list[tuple[str, str, float, str]]:
    """Return the limits that are close to full, the fullest first: proxy, which, how full, and in words."""
    found: list[tuple[str, str, float, str]] = []
    for reading in readings:
        if reading.why:
            continue
        hop = reading.proxy["name"]
        for rate in reading.limits["rates"]:
            which = f"rate of {rate['caller']} on {rate['service']} {rate['route']}"
            words = f"{rate['per_s']:g}/s, {rate['refused']} refused"
            found.append((hop, which, rate["used"], words))
        for one in reading.limits["in_use"]:
            part = one["used"] / one["limit"] if one["limit"] else 0.0
            found.append((hop, one["name"], part, f"{one['used']:g} of {one['limit']:g}"))
    return sorted((one for one in found if one[2] >= FULL), key=lambda one: -one[2])


def last_failures(readings: Iterable[Reading]) -> list[tuple[Told, int]]:
    """Return the last failures of all proxies, the newest first, each with how many are like it.

    Of an exchange that failed at several of them, only the one counts that has decided.
    """
    found = [one for reading in readings if not reading.why for one in reading.failures["failures"]]
    decided = {one["exchange"] for one in found if one["from"] == "here"}
    alike: dict[tuple[str, ...], tuple[Told, int]] = {}
    for one in sorted(found, key=lambda one: -float(one["at_unix_s"])):
        if one["from"] == "here" or one["exchange"] not in decided:
            key = one["hop"], one["cause"], one["caller"], one["service"]
            newest, count = alike.get(key, (one, 0))
            alike[key] = newest, count + 1
    return list(alike.values())[:FAILURES]
