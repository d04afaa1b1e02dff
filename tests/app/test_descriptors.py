"""What the log says when descriptors run out: one line in a while, with what was left out."""

from __future__ import annotations

import pytest

from fastproxy.app.descriptors import PERIOD_S, ShortageLog


def test_many_refusals_make_one_line_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 1000.0
    log = ShortageLog(lambda: now_s, 128)
    for _ in range(50):
        log.note()
    now_s += PERIOD_S
    log.note()
    assert [(line.limit, line.left_out) for line in caplog.records] == [  # type: ignore[attr-defined]
        (128, 0), (128, 49),
    ]  # fmt: skip
