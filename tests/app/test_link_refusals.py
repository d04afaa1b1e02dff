"""What the log says of links that didn't come about."""

from __future__ import annotations

import logging

import pytest

from fastproxy.app.link_refusals import LINES, PERIOD_S, RefusalLog
from fastproxy.telemetry.failures import Failures, Wanted
from fastproxy.wire.link.errors import LinkError


class Clock:
    """A clock that goes when it is told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_each_line_says_where_from_why_and_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures("in")
    failures.begin("in", 20)
    RefusalLog(Clock(), lambda: 1e9, failures).note(
        "192.0.2.1", LinkError("unknown_caller", "key id 0123", {"limit": 3})
    )
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    said = vars(record)
    assert (said["peer"], said["cause"], said["detail"]) == ("192.0.2.1", "unknown_caller", "key id 0123")
    assert "callers" in said["advice"]
    (kept,) = failures.find(Wanted())
    assert (kept.cause, kept.phase, kept.hop, kept.role) == (
        "handshake_unknown_caller",
        "handshake",
        "in",
        "in",
    )
    assert (kept.peer, kept.detail, kept.at_unix_s) == ("192.0.2.1", "key id 0123", 1e9)
    assert kept.numbers == {"limit": 3}


def test_a_cause_without_advice_of_its_own_is_written_as_well(caplog: pytest.LogCaptureFixture) -> None:
    RefusalLog(Clock(), lambda: 1e9, Failures("in")).note("192.0.2.1", LinkError("flood"))
    assert vars(caplog.records[0])["advice"]


def test_a_flood_is_cut_short_and_the_next_line_says_by_how_much(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    log = RefusalLog(clock, lambda: 1e9, Failures("in"))
    for _ in range(1000):
        log.note("192.0.2.1", LinkError("mac"))
    assert len(caplog.records) == LINES
    log.note("192.0.2.2", LinkError("unknown_caller"))  # another cause isn't drowned by it
    assert vars(caplog.records[-1])["peer"] == "192.0.2.2"
    clock.now_s += PERIOD_S
    log.note("192.0.2.3", LinkError("mac"))
    assert vars(caplog.records[-1])["left_out"] == 1000 - LINES
    log.note("192.0.2.3", LinkError("mac"))
    assert vars(caplog.records[-1])["left_out"] == 0
    for _ in range(1000):
        log.note("192.0.2.3", LinkError("mac"))
    assert len(caplog.records) == 2 * LINES + 1
