"""What `fastproxy tap` shows of an exchange, whatever services and peers put into it."""

from __future__ import annotations

from typing import Any

import pytest
from click import unstyle

from fastproxy.cli.tap_lines import lines_of
from fastproxy.telemetry.terminal import harmless_json

ONE: dict[str, Any] = {
    "hop": "in", "caller": "web", "service": "api", "method": "GET", "path": "/a", "status": 200, "cause": "",
    "phase": "answer", "endpoint": "127.0.0.1:1", "attempts": 1, "exchange": "x1", "duration_s": 0.5,
    "started_unix_s": 1.0, "request": None, "answer": None,
}  # fmt: skip


@pytest.mark.parametrize("status", [0, 101, 200, 302, 404, 503, 700, 999])
def test_every_status_that_a_service_may_answer_with_is_shown(status: int) -> None:
    (line,) = lines_of(ONE | {"status": status}, shows_heads=False, name="in")
    assert str(status or "---") in unstyle(line).split()


def test_nothing_in_a_line_of_json_steers_a_terminal() -> None:
    line = '{"path":"/\x7f\x9b31m\u00e9"}\n'.encode()
    assert harmless_json(line) == '{"path":"/\\u007f\\u009b31m\u00e9"}\n'.encode()
