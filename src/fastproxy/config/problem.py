"""What can be wrong with a config file, told so that a person can put it right.

Rule: all problems of a file come together, and none of them quotes a value that may be secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

_KEY_LIKE = re.compile("[0-9a-fA-F]{32}")

Path = tuple[str | int, ...]
"""Where a value stands in a file: keys of mappings and indexes of lists, from the root."""


class Problem(Struct, frozen=True):
    """One thing to correct.

    file: the config file, as it was named.
    line: from 1; 0 when the file as a whole is meant.
    path: the setting, e.g. `services.search.endpoints[0]`; empty for the file as a whole.
    message: what is wrong.
    suggestion: what to write or do instead; may be empty.
    """

    file: str
    line: int
    path: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        setting = f"{self.path}: " if self.path else ""
        advice = f" ({self.suggestion})" if self.suggestion else ""
        return f"{where}{setting}{self.message}{advice}"


class ConfigError(Exception):
    """A config file can't be used.

    Args:
        problems: all that was found; they are put in the order of the file.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(
            sorted(problems, key=lambda problem: (problem.file, problem.line, problem.path))
        )
        super().__init__("\n".join(map(str, self.problems)))


def dotted(path: Path) -> str:
    """Return a path as people write it: `services.search.endpoints[0]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{shown(part)}" if text else shown(part)
    return text


def shown(name: str) -> str:
    """Return a name as it may be shown: nothing that steers a terminal or may be a misplaced key."""
    if _KEY_LIKE.search(name):
        return "(what looks like a key)"
    return name if name.isprintable() and len(name) <= 200 else repr(name[:200])


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean …?" with the most similar known name, or ""."""
    import difflib  # noqa: PLC0415 - 0.2 MiB that only a mistake needs

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {found[0]}?" if found else ""
