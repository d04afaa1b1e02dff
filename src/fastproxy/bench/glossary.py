"""What the figures of a report mean, in words for people who didn't make them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from fastproxy.bench.scenario import Figure


class Term(NamedTuple):
    """One entry. pattern: finds the names of the figures that it explains; None where it is about all."""

    term: str
    meaning: str
    pattern: re.Pattern[str] | None


def _term(term: str, pattern: str | None, *meaning: str) -> Term:
    return Term(term, " ".join(meaning), re.compile(pattern) if pattern else None)


TERMS = (
    _term(
        "chain",
        None,
        "One way from the caller to the service: caller, out proxy, in proxy, service.",
    ),
    _term(
        "median",
        None,
        "Each chain is measured once in every round. What is shown is the middle one of its values:",
        "half of the rounds gave less, half more.",
    ),
    _term(
        "× CHAIN",
        None,
        "The ratio to that chain: in each round the figure is divided by that of the other chain in the same",
        "round. Shown are the median of these ratios and, in brackets, the least and the greatest. Only",
        "ratios of one run on one machine can be compared.",
    ),
    _term(
        "requests/s, reached/s",
        "requests_per_s|reached_per_s",
        "Answers per second, with at most one request in flight on each connection.",
    ),
    _term(
        "CPU out, CPU in",
        "cpu_",
        "CPU time, user and system, that the out proxy or the in proxy used, divided by the number of",
        "requests (or by the MiB of bodies); from the kernel's accounting, so that what it does for the",
        "proxy counts as well.",
    ),
    _term(
        "send … other",
        "^spent_",
        "What of the CPU time of a hop goes where: in the kernel, to sending, receiving and waiting for",
        "events, each with all that it sets off there, and to the rest; outside, to the program itself (for",
        "fastproxy the interpreter), the event loop, ciphers, the C library (memory and copying) and others.",
    ),
    _term(
        "p50, p90, p99, p99.9",
        r"(^|_)p\d+",
        "Percentiles of the latency: so many percent of the requests were answered within this time. At a",
        "fixed rate each request counts from when it was due, not from when it could be sent, so that a",
        "stall counts for all that it held up.",
    ),
    _term("longest", "max_ms", "The latency of the slowest request."),
    _term(
        "saturated",
        "saturated",
        "1 where a chain didn't reach the rate that was asked of it. Its latencies there would only say how",
        "long the load went on, and are left out.",
    ),
    _term(
        "generator late, busy",
        "lag_|generator_",
        "By how much the load itself was late, and which part of its time it was at work: where it is near",
        "100 %, it and not the chain sets the limit.",
    ),
    _term(
        "RSS, resident",
        "resident|_mib$",
        "Memory that a proxy holds in RAM, all its processes together; what they share counts for each.",
    ),
    _term(
        "worker",
        "worker",
        "The same of its largest process alone.",
    ),
    _term(
        "before, under, after",
        "before|under|after|rested",
        "Resident memory before the load, at its peak, and when it was back or its time to come back was",
        "over; “back after” is how long that took.",
    ),
    _term(
        "1 GiB up, down",
        "growth",
        "By how much resident memory grew, at its peak, while one body of that size passed.",
    ),
    _term(
        "MB/s",
        "mb_per_s",
        "Megabytes (10⁶ bytes) of bodies per second; up is to the service, down is from it.",
    ),
    _term(
        "a, s, h",
        "alone|stalled|huge",
        "Small calls alone, beside a stream that nobody reads, and beside a huge stream as well; “of a” is",
        "the part of the rate that is left.",
    ),
    _term(
        "start",
        "start_s",
        "From the start of a chain's proxies, which read their configs, to the first answer through them.",
    ),
)


def terms_for(figures: Iterable[Figure]) -> list[Term]:
    """Return the terms that explain some of these figures, in order."""
    names = [figure.name for figure in figures]
    return [
        term for term in TERMS if term.pattern is None or any(term.pattern.search(name) for name in names)
    ]


def is_explained(figure: Figure) -> bool:
    """Return whether a term is about this figure in particular."""
    return any(term.pattern.search(figure.name) for term in TERMS if term.pattern is not None)
