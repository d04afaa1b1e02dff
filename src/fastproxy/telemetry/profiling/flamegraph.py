"""A flame graph as one page of HTML: it loads nothing, and says the same in ten years.

The page is `flamegraph.html` with the profile put in: stacks merged from their roots into a tree, the
functions of each level sorted by name.
"""

from __future__ import annotations

from importlib.resources import files

import msgspec

from fastproxy.telemetry.profiling.profile import Profile

_MARK = '"PROFILE"'
_LEAST_SHARE = 0.0002
"""Smaller boxes could not be seen, and would make the page large."""

Node = tuple[int, list[int], list["Node"]]
"""Place of its name, its values with those of all that it called, and what that is."""


def page(profile: Profile) -> str:
    """Return the page for a profile."""
    names: dict[str, int] = {}
    places = []
    for frame in profile.frames:
        name = f"{frame.function} {frame.file}:{frame.first_line}" if frame.file else frame.function
        places.append(names.setdefault(name, len(names)))
    root = _Branch(len(profile.types))
    for sample in profile.samples:
        branch = root
        branch.add(sample.values)
        for place in reversed(sample.stack):
            branch = branch.child(places[place])
            branch.add(sample.values)
    listed = list(names)
    least = [max(1, int(value * _LEAST_SHARE)) for value in root.values]
    data = {
        "types": profile.types,
        "shown": profile.shown,
        "started_ms": profile.started_unix_ns // 1_000_000,
        "duration_s": profile.duration_ns / 1e9,
        "comments": profile.comments,
        "names": listed,
        "root": root.node(-1, listed, least),
    }
    # Nothing in it can end the script that it stands in.
    text = msgspec.json.encode(data).decode().replace("<", "\\u003c")
    return files(__package__).joinpath("flamegraph.html").read_text("utf-8").replace(_MARK, text)


class _Branch:
    __slots__ = ("children", "values")

    def __init__(self, width: int) -> None:
        self.values = [0] * width
        self.children: dict[int, _Branch] = {}

    def add(self, values: list[int]) -> None:
        for place, value in enumerate(values):
            self.values[place] += value

    def child(self, name: int) -> _Branch:
        branch = self.children.get(name)
        if branch is None:
            branch = self.children[name] = _Branch(len(self.values))
        return branch

    def node(self, name: int, names: list[str], least: list[int]) -> Node:
        """As the page has it, without what is too small to be seen by any of the values."""
        children = [
            child.node(place, names, least)
            for place, child in sorted(self.children.items(), key=lambda item: names[item[0]])
            if any(value >= limit for value, limit in zip(child.values, least, strict=True))
        ]
        return name, self.values, children
