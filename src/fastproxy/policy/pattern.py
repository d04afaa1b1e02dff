"""Path patterns, and the table that finds the most specific one for a path.

A pattern is a path in which a segment may be `*`, for exactly one segment that isn't empty, and the last one
`**`, for all that follows: `/a/**` takes every path that begins with `/a/`. Segment by segment, from the
left, a literal is more specific than `*`, and `*` than `**`.
A literal pattern costs one dict lookup, others one step per segment, however many patterns there are.
Knows nothing of who calls: a table holds whatever object belongs to a pattern and method.
"""

from __future__ import annotations

from typing import Generic, TypeVar
from urllib.parse import quote

from fastproxy.errors import ProxyError
from fastproxy.policy.path import canonical_path

V = TypeVar("V")

ANY_METHOD = b""
"""The key of values that hold for every method."""

_PRINTABLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))


def parse_pattern(text: str, allow_ambiguous: bool = False) -> tuple[bytes, ...]:
    """Split a path pattern into its canonical segments.

    Args:
        text: the pattern as the config spells it; characters outside ASCII stand for their UTF-8 escapes.
        allow_ambiguous: whether the pattern may hold what `canonical_path` calls ambiguous.

    Raises:
        ValueError: it could never match, or would match something else than it seems to.
    """
    # Most are written as they are: to have that found out by `quote` takes half of the time.
    is_plain = text.isascii() and text.isprintable() and " " not in text
    spelled = text if is_plain else quote(text, safe=_PRINTABLE_ASCII)
    try:
        path, query = canonical_path(spelled.encode(), allow_ambiguous)
    except ProxyError as error:
        raise ValueError(f"path pattern {text!r}: {error.detail}") from error
    if query or not path.startswith(b"/"):
        raise ValueError(f"path pattern {text!r} must begin with a slash and hold no query")
    segments = tuple(path[1:].split(b"/"))
    for segment in segments:
        if b"*" in segment and segment not in (b"*", b"**"):
            raise ValueError(f"path pattern {text!r}: a star stands for a whole segment")
    if b"**" in segments[:-1]:
        raise ValueError(f"path pattern {text!r}: ** can only be the last segment")
    return segments


class _Node(Generic[V]):
    __slots__ = ("here", "literal", "rest", "star")

    def __init__(self) -> None:
        self.literal: dict[bytes, _Node[V]] = {}
        self.star: _Node[V] | None = None
        self.here: dict[bytes, V] = {}
        self.rest: dict[bytes, V] = {}


class PatternTable(Generic[V]):
    """Values by path pattern and method; the most specific pattern that has the method answers."""

    __slots__ = ("_depth", "_literal", "_root")

    def __init__(self) -> None:
        self._literal: dict[bytes, dict[bytes, V]] = {}
        self._root: _Node[V] = _Node()
        self._depth = 0

    def add(self, segments: tuple[bytes, ...], methods: tuple[bytes, ...], value: V) -> None:
        """Add a value for a pattern; of two for the same pattern and method, the first one stays.

        Args:
            segments: from `parse_pattern`.
            methods: the methods it holds for; `(ANY_METHOD,)` for all.
            value: what `find` shall return.
        """
        if b"*" not in segments and b"**" not in segments:
            by_method = self._literal.setdefault(b"/" + b"/".join(segments), {})
        else:
            by_method = self._place(segments)
        if ANY_METHOD in by_method:
            return
        for method in methods:
            by_method.setdefault(method, value)

    def _place(self, segments: tuple[bytes, ...]) -> dict[bytes, V]:
        node = self._root
        for depth, segment in enumerate(segments):
            if segment == b"**":
                return node.rest
            if segment == b"*":
                node.star = node.star or _Node()
                node = node.star
            else:
                inner = node.literal.get(segment)
                if inner is None:
                    inner = node.literal[segment] = _Node()
                node = inner
            self._depth = max(self._depth, depth + 1)
        return node.here

    def find(self, method: bytes, path: bytes) -> V | None:
        """Return the value of the most specific pattern for a canonical path, or None.

        b"*" (the target of OPTIONS for a server as a whole) is matched by `/**` alone.
        """
        by_method = self._literal.get(path)
        if by_method is not None:
            value = by_method.get(method) or by_method.get(ANY_METHOD)
            if value is not None:
                return value
        # What lies beyond the longest pattern concerns only `**`: it stays unsplit, however long.
        return _descend(self._root, path[1:].split(b"/", self._depth), 0, method)

    def methods_of(self, path: bytes) -> set[bytes]:
        """Return the methods by which `find` has a value for a canonical path, whatever pattern has them."""
        methods = set(self._literal.get(path, ()))
        _collect(self._root, path[1:].split(b"/", self._depth), 0, methods)
        return methods


def _collect(node: _Node[V], segments: list[bytes], index: int, methods: set[bytes]) -> None:
    if index == len(segments):
        methods.update(node.here)
        return
    segment = segments[index]
    literal = node.literal.get(segment)
    if literal is not None:
        _collect(literal, segments, index + 1, methods)
    if node.star is not None and segment:
        _collect(node.star, segments, index + 1, methods)
    methods.update(node.rest)


def _descend(node: _Node[V], segments: list[bytes], index: int, method: bytes) -> V | None:
    if index == len(segments):
        return node.here.get(method) or node.here.get(ANY_METHOD)
    segment = segments[index]
    value: V | None = None
    literal = node.literal.get(segment)
    if literal is not None:
        value = _descend(literal, segments, index + 1, method)
    if value is None and node.star is not None and segment:
        value = _descend(node.star, segments, index + 1, method)
    if value is None and node.rest:
        value = node.rest.get(method) or node.rest.get(ANY_METHOD)
    return value
