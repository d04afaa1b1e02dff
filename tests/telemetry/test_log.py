"""Logs are one line per record, whatever is in it, and never hold the proxy up."""

import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.telemetry.log import (
    Format,
    LineHandler,
    current_output,
    json_line,
    output_for,
    setup,
    text_line,
    timestamp,
)
from fastproxy.telemetry.output import LineOutput
from tests.telemetry.turns import PlayedLoop


def record_of(message: str, **extra: Any) -> logging.LogRecord:
    record = logging.LogRecord("fastproxy.test", logging.WARNING, "", 0, message, (), None)
    vars(record).update(extra)
    record.created = 1_800_000_000.5
    return record


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_fields_of_a_line() -> None:
    assert json.loads(json_line(record_of("said", service="search", count=3))) == {
        "ts": "2027-01-15T08:00:00.500Z",
        "level": "warning",
        "logger": "fastproxy.test",
        "message": "said",
        "service": "search",
        "count": 3,
    }


def test_times_are_rfc_3339() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000Z"


def test_text_for_people() -> None:
    line = text_line(record_of("said", service="search"))
    assert line == b"2027-01-15T08:00:00.500Z WARNING fastproxy.test: said service=search\n"


@settings(max_examples=60)
@given(st.text(), st.text())
def test_nothing_in_a_record_breaks_its_line(message: str, extra: str) -> None:
    record = record_of(message.replace("%", "%%"), extra=extra)
    for line in (json_line(record), text_line(record)):
        assert line.endswith(b"\n")
        assert not [byte for byte in line[:-1] if byte < 0x20 or byte == 0x7F]
        assert not re.search("[\x80-\x9f]", line.decode())
    assert json.loads(json_line(record))["extra"] == extra


@pytest.mark.parametrize("line_of", [json_line, text_line])
def test_bytes_that_were_no_utf_8(line_of: Any) -> None:
    assert b"\\udcff" in line_of(record_of("said", path=os.fsdecode(b"/\xff")))


def test_an_exception_stays_on_the_line() -> None:
    try:
        raise ValueError("because")
    except ValueError as error:
        record = record_of("failed", exc_info=(ValueError, error, error.__traceback__))
    line = json_line(record)
    assert line.count(b"\n") == 1
    assert json.loads(line)["exception"].endswith("ValueError: because")
    assert text_line(record).count(b"\n") == 1


@pytest.mark.parametrize("format_", ["json", "text"])
def test_setup_replaces_and_filters(root_logger: logging.Logger, tmp_path: Path, format_: Format) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        setup("debug", format_, file.fileno())
        output = setup("info", format_, file.fileno())
        logging.getLogger("fastproxy.x").info("shown once", extra={"a": 1})
        logging.getLogger("fastproxy.x").debug("hidden")
    assert path.read_text().count("shown once") == 1
    assert "hidden" not in path.read_text()
    assert output.dropped == 0


def test_a_record_that_cannot_be_shown_is_told_and_fails_nobody(tmp_path: Path) -> None:
    class Unshowable:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    path = tmp_path / "log"
    with path.open("wb") as file:
        LineHandler("json", LineOutput(file.fileno())).handle(record_of("said", thing=Unshowable()))
    line = json.loads(path.read_text())
    assert line["message"] == "a log record can't be shown"
    assert line["error"] == "RuntimeError"


def test_what_goes_where_the_log_goes_stays_in_order_with_it(
    root_logger: logging.Logger, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    loop = PlayedLoop()
    with path.open("ab") as file, path.open("ab") as same, (tmp_path / "other").open("wb") as other:
        assert setup("info", "text", file.fileno()) is current_output()
        output = loop.gathers(output_for(same.fileno()))
        output.hold(b"before it\n")
        logging.getLogger("fastproxy.x").warning("the warning")
        output.hold(b"after it\n")
        loop.end_turn()
        assert output_for(other.fileno()) is not output
    [before, warning, after] = path.read_text().splitlines()
    assert (before, after) == ("before it", "after it")
    assert "the warning" in warning


def test_without_a_log_there_is_no_output_to_share(root_logger: logging.Logger, tmp_path: Path) -> None:
    root_logger.handlers.clear()
    assert current_output() is None
    with (tmp_path / "other").open("wb") as other:
        output_for(other.fileno()).write(b"line\n")
    assert (tmp_path / "other").read_text() == "line\n"


def test_what_could_not_be_written_is_tried_once_more_when_the_process_ends() -> None:
    reading, writing = os.pipe()
    handler = LineHandler("text", LineOutput(writing))
    for _ in range(100):
        handler.handle(record_of("x" * 1000))
    os.read(reading, 1 << 20)
    handler.flush()
    assert os.read(reading, 1 << 20)
    os.close(reading)
    os.close(writing)
