"""What was counted, as lines of JSON for who runs it and as a table for docs/operations.md."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.e2e.operations.stage import Row

RECORD = Path(__file__).parents[3] / "docs" / "operations.jsonl"
"""What docs/operations.md shows."""

_HEAD = """\
| what was done | how often | requests | per second | failed | doubled | missing | p99 | date |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |
"""


def line(row: Row) -> str:
    """Return a row as a line of JSON: with the day, and with its failures by kind."""
    facts: dict[str, Any] = {name: getattr(row, name) for name in row.__struct_fields__}
    facts["failures"] = dict(Counter(_kind(failure.words) for failure in row.failures))
    return json.dumps({**facts, "date": datetime.datetime.now(datetime.UTC).date().isoformat()})


def _kind(words: str) -> str:
    """What failures have in common: the cause that a proxy names, or what became of the connection."""
    named = re.search(r'"cause":"(\w+)","hop":"(\w+)"', words)
    return " ".join(named.groups()) if named else words.partition(" (")[0].partition(" after ")[0]


def record() -> list[dict[str, Any]]:
    """Read what was recorded."""
    return [json.loads(each) for each in RECORD.read_text().splitlines()]


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return what docs/operations.md shows of these rows, Markdown."""
    return _HEAD + "".join(
        f"| {row['scenario']} | {row['count']:,} | {row['requests']:,} | {row['rate_per_s']:,} "
        f"| {row['failed']} | {row['doubled']} | {row['missing']} | {row['p99_ms']:,.0f} ms "
        f"| {row['date']} |\n"
        for row in rows
    )
