"""The line of every value of a file, in few bytes each: a config may hold a million of them.

Values are kept in the order of the file, each in front of those inside it, so that how deep each one is tells
what is inside what. Where a search among them takes more than a few steps, its result is remembered for all
members at once.
Knows nothing of YAML or of the values themselves.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from fastproxy.config.problem import Path

_FEW = 16
"""Values that are looked at again each time, rather than remembered."""

Name = str | int | None
"""The key of a mapping's member, the index of a list's; None for a value that no path leads to."""


class Lines:
    """The lines of the values of one file."""

    __slots__ = ("_depths", "_known", "_lines", "_names")

    def __init__(self) -> None:
        self._names: list[Name] = []
        self._lines = array("I")
        self._depths = array("B")
        self._known: dict[int, dict[Name, int]] = {}  # members by name, of values with many inside them

    def __len__(self) -> int:
        """Number of values."""
        return len(self._names)

    def add(self, name: Name, line: int, depth: int) -> None:
        """Note the next value of the file.

        Args:
            name: in what it is a member of. line: where it begins. depth: values around it, at most 255.
        """
        self._names.append(name)
        self._lines.append(line)
        self._depths.append(depth)

    def line(self, path: Path) -> int:
        """Return the line of a value, or of the nearest enclosing one that stands in the file."""
        value = 0
        for name in path:
            member = self._member(value, name)
            if not member:
                break
            value = member
        return self._lines[value] if self._lines else 1

    def names(self, path: Path) -> set[str]:
        """Return the keys of the mapping at `path`; none when there is no mapping."""
        value = 0
        for name in path:
            value = self._member(value, name)
            if not value:
                return set()
        return {name for _, name in self._members(value) if isinstance(name, str)}

    def _member(self, value: int, name: Name) -> int:
        """Return the first member of a value that has this name; 0, which is the root, when there is none."""
        known = self._known.get(value)
        if known is not None:
            return known.get(name, 0)
        names, depths = self._names, self._depths
        depth = depths[value] + 1 if depths else 0
        for member in range(value + 1, min(value + _FEW, len(depths))):
            if depths[member] < depth:
                return 0
            if depths[member] == depth and names[member] == name:
                return member
        known = self._known[value] = {}
        for member, each in self._members(value):
            known.setdefault(each, member)
        return known.get(name, 0)

    def _members(self, value: int) -> Iterator[tuple[int, Name]]:
        """Yield the members of a value, each with its name."""
        depths = self._depths
        depth = depths[value] + 1 if depths else 0
        for member in range(value + 1, len(depths)):
            if depths[member] == depth:
                yield member, self._names[member]
            elif depths[member] < depth:
                return
