"""YAML text to plain data that knows the line of every value.

A strict part of YAML: no aliases (a few lines of them expand to gigabytes), no tags, no repeated keys,
bounded size and depth. Plain scalars follow YAML 1.2: only true and false are booleans, so `on` and `0600`
stay text, and a long row of digits is a key, not a number.
Knows nothing of what the settings mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

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

    data: the root value. lines: line of each value by path; for members of a mapping that of the key.
    problems: what was found so far, each once.
    """

    file: str
    data: Data = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: dict[Problem, None] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """Return the line of a value, or of the nearest enclosing one that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

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
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _Builder(document, list(yaml.parse(text, Loader=loader))).build()
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
    """Turns the parser's events into data, front to back."""

    def __init__(self, document: Document, events: list[yaml.Event]) -> None:
        self._document = document
        self._events = iter(events)

    def build(self) -> None:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if self._document.lines:
                    self._report(event, (), "a second YAML document", "keep one config per file")
                    return
                self._document.data = self._value(next(self._events), ())

    def _value(self, event: yaml.Event, path: Path) -> Data:
        self._document.lines.setdefault(path, _line(event))
        if len(path) > DEPTH_LIMIT:
            line = _line(event)
            message = f"this is nested more than {DEPTH_LIMIT} deep"
            raise ConfigError([Problem(self._document.file, line, "", message)])
        if isinstance(event, yaml.AliasEvent):
            self._report(event, path, "YAML aliases are not taken", "write the value out, or use `defaults`")
            return None
        if getattr(event, "tag", None) is not None:
            self._report(event, path, "YAML tags are not taken", "write the value without it")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path)
        assert isinstance(event, yaml.ScalarEvent)
        return _scalar(event.value) if event.implicit[0] else event.value

    def _mapping(self, path: Path) -> Data:
        members: dict[str, Data] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                self._value(key, (*path, "?"))
                self._value(next(self._events), (*path, "?"))
                self._report(key, path, "a key of a mapping must be a name")
                continue
            name = key.value
            if name in members:
                first = self._document.lines[(*path, name)]
                self._report(
                    key, (*path, name), f"this key was already set at line {first}", "keep one of them"
                )
                self._value(next(self._events), (*path, name))
                continue
            self._document.lines[(*path, name)] = _line(key)
            members[name] = self._value(next(self._events), (*path, name))
        return members

    def _list(self, path: Path) -> Data:
        items: list[Data] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _report(self, event: yaml.Event, path: Path, message: str, suggestion: str = "") -> None:
        problem = Problem(self._document.file, _line(event), dotted(path), message, suggestion)
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
