"""From plain data to typed config; when that fails, every structural mistake at once.

The fast way is one strict conversion. Only when it fails, the JSON Schema made of the same types is asked
for all mistakes; the values that have one are then left out, so that the rest can still be judged for what
a schema can't express, and the file's owner sees everything in one go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from fastproxy.config.document import Data, Document
from fastproxy.config.problem import Path, dotted, nearest
from fastproxy.config.schema import InConfig, OutConfig
from fastproxy.config.schema_compat import CONTEXT_PATH_PATTERN
from fastproxy.config.schema_link import TLS_ID_PATTERN
from fastproxy.config.schema_parts import DATE_PATTERN, KEY_PATTERN, NAME_PATTERN
from fastproxy.config.secret import Secret

if TYPE_CHECKING:
    from jsonschema import ValidationError

Config = OutConfig | InConfig

ROLES: dict[str, type[OutConfig] | type[InConfig]] = {"out": OutConfig, "in": InConfig}

_TYPE_WORDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}
_PATTERN_WORDS = {
    KEY_PATTERN: ("this is not a public key", "64 hex digits, as `fastproxy keys show` prints them"),
    DATE_PATTERN: ("this is not a date", "in UTC, as in `2027-01-31T00:00:00Z`"),
    CONTEXT_PATH_PATTERN: ("this is not a context path", "as in `/inProxy`, without a slash at the end"),
    TLS_ID_PATTERN: (
        "this is neither a SPIFFE URI nor a DNS name",
        "as in `spiffe://shop.example/web` or `web.shop.example`, in lower case",
    ),
    NAME_PATTERN: ("this is not a name", "letters, digits, `.`, `_` and `-`, at most 128"),
}
_BOUND_WORDS = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be greater than {}",
    "minItems": "needs at least {} item(s)",
    "maxItems": "has more than {} items",
    "minProperties": "needs at least {} member(s)",
    "maxLength": "is longer than {} characters",
}


def json_schema(config_type: type[OutConfig] | type[InConfig]) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a role's config."""
    return msgspec.json.schema(config_type, schema_hook=secret_schema)


def role_of(document: Document) -> type[OutConfig] | type[InConfig] | None:
    """Return the type that the document's `role` calls for; None, and a problem reported, when none does."""
    data = document.data
    if not isinstance(data, dict):
        document.report(
            (), "the file does not hold a mapping of settings", "start with `role: out` or `role: in`"
        )
        return None
    role = data.get("role")
    if isinstance(role, str) and role in ROLES:
        return ROLES[role]
    document.report(
        ("role",), "`role` must be `out` or `in`", "out: beside the caller; in: beside the service"
    )
    # What only one role has tells which one is meant, so that the rest of the file can be judged.
    meant = "in" if "privileges" in data or "callers_dir" in data else "out"
    data["role"] = meant
    return ROLES[meant] if {"privileges", "callers_dir", "receivers", "caller"} & data.keys() else None


class Structure:
    """A document as typed config, or as much of it as is well-formed.

    config: None when not even a part can be used. is_whole: whether all of the document is in it.
    """

    __slots__ = ("_kept", "config", "document", "is_whole")

    def __init__(self, document: Document, config_type: type[OutConfig] | type[InConfig]) -> None:
        self.document = document
        self.config: Config | None = None
        # Original indexes of the items that are left, for lists that lost some.
        self._kept: dict[Path, list[int]] = {}
        self.is_whole = False
        try:
            self.config = convert(document.data, config_type)
            self.is_whole = True
        except msgspec.ValidationError:
            self._convert_sound_part(config_type)
        document.data = None  # of a large file that is half of what it takes, and all is said by now

    def report(self, path: Path, message: str, suggestion: str = "") -> None:
        """Add a problem with a value of `config`, named by its path there."""
        self.document.report(self.original(path), message, suggestion)

    def line(self, path: Path) -> int:
        """Return the line of a value of `config`."""
        return self.document.line(self.original(path))

    def written(self, path: Path) -> set[str]:
        """Return the keys that stand in the file in the mapping at `path`, sound or not."""
        return self.document.lines.names(path)

    def has_problem(self, path: Path) -> bool:
        """Whether something was reported at `path` or below it."""
        here = dotted(path)
        below = (f"{here}.", f"{here}[")
        return any(
            problem.path == here or problem.path.startswith(below) for problem in self.document.problems
        )

    def original(self, path: Path) -> Path:
        """Return the path in the file of a value of `config`."""
        if not self._kept:
            return path
        found: Path = ()
        for part in path:
            kept = self._kept.get(found) if isinstance(part, int) else None
            found = (*found, kept[part] if kept and isinstance(part, int) else part)
        return found

    def _convert_sound_part(self, config_type: type[OutConfig] | type[InConfig]) -> None:
        # Imported here: a proxy whose config is right never pays for it.
        from jsonschema import Draft202012Validator  # noqa: PLC0415

        validator = Draft202012Validator(json_schema(config_type))
        dropped: set[Path] = set()
        reported = {problem.path for problem in self.document.problems}
        data = self.document.data
        first_round = True
        while mistakes := list(_mistakes(validator.iter_errors(data))):
            for path, unusable, message, suggestion in mistakes:
                original = self.original(path)
                dropped.add(self.original(unusable))
                # Later rounds find only what leaving things out has caused.
                if first_round and dotted(original) not in reported:
                    self.document.report(original, message, suggestion)
            if () in dropped:
                return
            self._kept = {}
            data = self._without(self.document.data, (), dropped)
            first_round = False
            with suppress(msgspec.ValidationError):  # another round finds out, at a thousand times the cost
                self.config = convert(data, config_type)
                return
        self.config = convert(data, config_type)

    def _without(self, data: Data, path: Path, dropped: set[Path]) -> Data:
        """Return a copy of `data` without the values whose path is in `dropped`."""
        if isinstance(data, dict):
            return {
                name: self._without(value, (*path, name), dropped)
                for name, value in data.items()
                if (*path, name) not in dropped
            }
        if isinstance(data, list):
            kept = [index for index in range(len(data)) if (*path, index) not in dropped]
            self._kept[path] = kept
            return [self._without(data[index], (*path, index), dropped) for index in kept]
        return data


def convert(data: Data, config_type: type[OutConfig] | type[InConfig]) -> Config:
    """Convert plain data strictly, services completed from `defaults`.

    Raises:
        msgspec.ValidationError: it doesn't fit.
    """
    config = msgspec.convert(data, config_type, dec_hook=_secret_from_text)
    if not (isinstance(data, dict) and isinstance(defaults := data.get("defaults"), dict)):
        return config
    # Merged as plain data, where what is set and what isn't can still be told apart.
    services: Any = data.get("services", {})
    merged = {**data, "services": {name: {**defaults, **service} for name, service in services.items()}}
    return msgspec.convert(merged, config_type, dec_hook=_secret_from_text)


Mistake = tuple[Path, Path, str, str]
"""Where to point, what to leave out, what is wrong, what to write instead."""


def _mistakes(errors: Iterator[ValidationError]) -> Iterator[Mistake]:
    for error in errors:
        path: Path = tuple(error.absolute_path)
        match error.validator:
            case "anyOf":
                yield from _alternatives(error, path)
            case "additionalProperties":
                yield from _unknown_keys(error, path)
            case "required":
                instance: Any = error.instance
                needed: Any = error.validator_value
                for name in needed:
                    if name not in instance:
                        yield path, path, f"`{name}` is missing", f"add `{name}:` here"
            case _:
                yield _one_mistake(error, path)


def _alternatives(error: ValidationError, path: Path) -> Iterator[Mistake]:
    """Report what is wrong with the alternative that was meant: the one whose type fits."""
    branches: dict[int | str, list[ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    fitting = [
        inner
        for inner in branches.values()
        if not any(one.validator == "type" and not one.relative_path for one in inner)
    ]
    if fitting:
        # A fixed choice of words is the last thing that a number was meant to be.
        fitting.sort(key=lambda inner: inner[0].validator == "enum")
        yield from _mistakes(iter(fitting[0]))
    else:
        wanted = [str(one.validator_value) for inner in branches.values() for one in inner[:1]]
        words = " or ".join(_TYPE_WORDS[word] for word in wanted if word in _TYPE_WORDS and word != "null")
        instance: Any = error.instance
        yield path, path, f"expected {words}, found {_type_word(instance)}", ""


def _unknown_keys(error: ValidationError, path: Path) -> Iterator[Mistake]:
    schema: Any = error.schema
    instance: Any = error.instance
    known = schema.get("properties", {})
    for name in instance:
        if name not in known:
            advice = nearest(name, known) or f"known here: {', '.join(sorted(known))}"
            yield (*path, name), (*path, name), "unknown key", advice


def _one_mistake(error: ValidationError, path: Path) -> Mistake:
    expected: Any = error.validator_value
    instance: Any = error.instance
    match error.validator:
        case "type":
            return path, path, f"expected {_TYPE_WORDS[expected]}, found {_type_word(instance)}", ""
        case "enum":
            choices = ", ".join(map(str, expected))
            advice = nearest(instance, map(str, expected)) if isinstance(instance, str) else ""
            return path, path, f"expected one of: {choices}", advice
        case "pattern" if "propertyNames" in error.absolute_schema_path:
            member = (*path, instance)
            return member, member, *_PATTERN_WORDS[NAME_PATTERN]
        case "pattern":
            message, advice = _PATTERN_WORDS.get(str(expected), ("this is not written as it must be", ""))
            return path, path, message, advice or f"see `{path[-1]}` in the reference of settings"
        case bound:
            return path, path, _BOUND_WORDS.get(str(bound), "does not fit the schema").format(expected), ""


def _type_word(value: Data) -> str:
    if value is None:
        return _TYPE_WORDS["null"]
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return _TYPE_WORDS[names[type(value)]]


def _secret_from_text(target: type, value: Any) -> Any:
    if target is Secret and isinstance(value, str):
        return Secret(value.encode())
    raise ValueError("expected text")


def secret_schema(target: type) -> dict[str, Any]:
    """Return the JSON Schema of a type that isn't plain data, for msgspec.

    Raises:
        NotImplementedError: it is none of ours.
    """
    if target is Secret:
        return {"type": "string"}
    raise NotImplementedError(target.__name__)
