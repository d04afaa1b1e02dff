"""The proxy's own log: one line per record, as JSON for machines or as text for a terminal.

Whatever a peer got into a record can't begin a new line or steer a terminal: it is escaped, in JSON as in
text. Modules log through the standard library, under names that begin with "fastproxy", and put particulars
into `extra`, never into the message.
Knows nothing of exchanges; those have the access log.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from fastproxy.telemetry.output import LineOutput
from fastproxy.telemetry.terminal import harmless, harmless_json

Format = Literal["json", "text"]
Level = Literal["debug", "info", "warning", "error"]

_BUILT_IN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_encoder = msgspec.json.Encoder(enc_hook=repr)
_exceptions = logging.Formatter()


def setup(level: str, format: Format = "json", fd: int | None = None) -> LineOutput:
    """Send all logs of this process to one place; replaces what an earlier call set up.

    Args:
        level: the lowest level shown: "debug", "info", "warning" or "error".
        format: "json" or "text".
        fd: the file descriptor to write to; None for standard error.

    Returns:
        The output, which knows how many lines it had to drop.
    """
    output = LineOutput(sys.stderr.fileno() if fd is None else fd)
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(LineHandler(format, output))
    root.setLevel(level.upper())
    return output


def current_output() -> LineOutput | None:
    """Return where the logs of this process go, if `setup` was called."""
    handlers = (handler for handler in logging.getLogger().handlers if isinstance(handler, LineHandler))
    return next((handler.output for handler in handlers), None)


def output_for(fd: int) -> LineOutput:
    """Return what writes to a file descriptor: the output of the log where both lead to the same place.

    So whatever else goes there stays in order with the log's lines, and cuts none of them.
    """
    output = current_output()
    return output if output is not None and output.leads_where(fd) else LineOutput(fd)


class LineHandler(logging.Handler):
    """Writes each record as one line.

    Args:
        format: "json" or "text".
        output: where the lines go.
    """

    def __init__(self, format: Format, output: LineOutput) -> None:
        super().__init__()
        self._line_of = json_line if format == "json" else text_line
        self.output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record at once, or drop it when the output can't take it."""
        try:
            line = self._line_of(record)
        except Exception as error:  # a record that can't be shown must not fail what logged it
            record = logging.LogRecord(
                record.name,
                record.levelno,
                record.pathname,
                record.lineno,
                "a log record can't be shown",
                (),
                None,
            )
            record.error = type(error).__name__
            line = self._line_of(record)
        self.output.write(line)

    def flush(self) -> None:
        """Try once more what could not be written; `logging` calls it when the process ends, too."""
        self.output.flush()


def json_line(record: logging.LogRecord) -> bytes:
    """Return a record as one line of JSON: ts (RFC 3339), level, logger, message, then its extra fields."""
    fields: dict[str, Any] = {
        "ts": timestamp(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    fields.update(_particulars(record))
    try:
        line = _encoder.encode(fields)
    except UnicodeEncodeError:  # lone surrogates, from bytes that were no UTF-8
        line = _encoder.encode({name: _encodable(value) for name, value in fields.items()})
    return harmless_json(line) + b"\n"


def text_line(record: logging.LogRecord) -> bytes:
    """Return a record as one line for people; control characters come out escaped."""
    particulars = "".join(f" {name}={value}" for name, value in _particulars(record).items())
    line = (
        f"{timestamp(record.created)} {record.levelname:<7} {record.name}: {record.getMessage()}{particulars}"
    )
    return harmless(line).encode() + b"\n"


def timestamp(unix_s: float) -> str:
    """Return a time as RFC 3339 has it, in UTC, to the millisecond."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _particulars(record: logging.LogRecord) -> dict[str, Any]:
    particulars = {name: value for name, value in vars(record).items() if name not in _BUILT_IN}
    if record.exc_info:
        particulars["exception"] = _exceptions.formatException(record.exc_info)
    return particulars


def _encodable(value: object) -> str:
    return str(value).encode(errors="backslashreplace").decode()
