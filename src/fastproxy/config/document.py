"""YAML text to plain data that knows the line of every value.

A strict part of YAML: no aliases (a few lines of them expand to gigabytes), no tags, no repeated keys,
bounded size and depth. Plain scalars follow YAML 1.2: only true and false are booleans, so `on` and `0600`
stay text, and a long row of digits is a key, not a number.
Knows nothing of what the settings mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from fastproxy.config.lines import Lines
from fastproxy.config.problem import ConfigError, Path, Problem, dotted

FILE_LIMIT_BYTES = 16 * 1024 * 1024
"""Protects against a wrong file (a log, a device) given as config; 100,000 privileges take about 10 MB."""
DEPTH_LIMIT = 32
"""Protects the recursion below; the schema is 6 deep."""

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})\Z")
_DECIMAL = re.compile(r"[-+]?[0-9]{1,17}\.[0-9]{0,17}\Z")
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

Data = None | bool | int | float | str | list["Data"] | dict[str, "Data"]


@dataclass(slots=True)
class Document:
    """A file's content.

    data: the root value. lines: where all of it stands; for members of a mapping that is their key's line.
    problems: what was found so far, each once.
    """

    file: str
    data: Data = None
    lines: Lines = field(default_factory=Lines)
    problems: dict[Problem, None] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """Return the line of a value, or of the nearest enclosing one that stands in the file."""
        return self.lines.line(path)

    def report(self, path: Path, message: str, suggestion: str = "") -> None:
        """Add a problem with the value at `path`."""
        self.problems[Problem(self.file, self.line(path), dotted(path), message, suggestion)] = None


def parse_document(text: str, file: str) -> Document:
    """Parse YAML text.

    Args:
        text: the content. file: its name, for messages.

    Raises:
        ConfigError: it isn't YAML, so nothing can be said of its content.
    """
    document = Document(file)
    # The safe loader is taken for its parser alone: nothing is constructed from tags.
    try:
        parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
        _Builder(document, parser.get_event).build()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = mark.line + 1 if mark else 0
        raise ConfigError(
            [Problem(file, line, "", f"this is not YAML: {exc.problem or exc.context}")]
        ) from exc
    except yaml.YAMLError as exc:
        raise ConfigError([Problem(file, 0, "", "this is not YAML: it contains control characters")]) from exc
    return document


class _Builder:
    """Turns the parser's events into data, front to back, while they come."""

    __slots__ = ("_document", "_keys", "_lines", "_next", "_path", "_repeated")

    def __init__(self, document: Document, next_event: Callable[[], Any]) -> None:
        self._document = document
        self._lines = document.lines
        self._next = next_event
        self._path: list[str | int] = []  # of the value that is being built
        self._keys: dict[str, str] = {}  # one object for all keys that are the same
        self._repeated: list[tuple[Path, int]] = []  # keys that were set already, and their lines

    def build(self) -> None:
        while type(event := self._next()) is not yaml.StreamEndEvent:
            if type(event) is yaml.DocumentStartEvent:
                if self._lines:
                    self._report(event, "a second YAML document", "keep one config per file")
                    break
                root = self._next()
                self._lines.add(None, _line(root), 0)
                self._document.data = self._value(root)
        for path, line in self._repeated:
            message = f"this key was already set at line {self._lines.line(path)}"
            problem = Problem(self._document.file, line, dotted(path), message, "keep one of them")
            self._document.problems[problem] = None

    def _member(self, event: Any, name: str | int | None, line: int) -> Data:
        """Build a member of the value at the path; its name and line are as for `Lines.add`."""
        self._lines.add(name, line, len(self._path) + 1)
        if type(event) is yaml.ScalarEvent and event.tag is None:  # as most are
            return _scalar(event.value) if event.implicit[0] else event.value
        self._path.append("?" if name is None else name)
        value = self._value(event)
        self._path.pop()
        return value

    def _value(self, event: Any) -> Data:
        if len(self._path) > DEPTH_LIMIT:
            message = f"this is nested more than {DEPTH_LIMIT} deep"
            raise ConfigError([Problem(self._document.file, _line(event), "", message)])
        if isinstance(event, yaml.AliasEvent):
            self._report(event, "YAML aliases are not taken", "write the value out, or use `defaults`")
            return None
        if event.tag is not None:
            self._report(event, "YAML tags are not taken", "write the value without it")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping()
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list()
        return _scalar(event.value) if event.implicit[0] else event.value

    def _mapping(self) -> Data:
        members: dict[str, Data] = {}
        while type(key := self._next()) is not yaml.MappingEndEvent:
            if type(key) is not yaml.ScalarEvent:
                self._member(key, None, _line(key))
                value = self._next()
                self._member(value, None, _line(value))
                self._report(key, "a key of a mapping must be a name")
                continue
            name = self._keys.setdefault(key.value, key.value)
            if name in members:
                self._repeated.append(((*self._path, name), _line(key)))
                self._member(self._next(), name, _line(key))
            else:
                members[name] = self._member(self._next(), name, _line(key))
        return members

    def _list(self) -> Data:
        items: list[Data] = []
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            items.append(self._member(event, len(items), _line(event)))
        return items

    def _report(self, event: yaml.Event, message: str, suggestion: str = "") -> None:
        problem = Problem(self._document.file, _line(event), dotted(tuple(self._path)), message, suggestion)
        self._document.problems[problem] = None


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _scalar(text: str) -> Data:
    """Return what a plain scalar means (YAML 1.2 core schema without octal, hex, exponents, infinities)."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.match(text):
        return int(text)
    if _DECIMAL.match(text):
        return float(text)
    return text
