"""The reference page and the JSON Schema for editors, both made of `schema.py`.

`python -m fastproxy.config.reference > docs/configuration.md` writes the page; a test holds it to the types.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from fastproxy.config import schema, schema_compat, schema_link, schema_parts, schema_tracing
from fastproxy.config.reference_intro import INTRO
from fastproxy.config.structure import secret_schema

_UNITS = (("_per_s", "per second"), ("_s", "seconds"), ("_bytes", "bytes"))
_BOUNDS = (("exclusiveMinimum", "> {}"), ("minimum", "≥ {}"), ("maximum", "≤ {}"))


def editor_schema() -> dict[str, Any]:
    """Return one JSON Schema (2020-12) for both roles, with a description and default wherever one exists."""
    both = msgspec.json.schema(schema.OutConfig | schema.InConfig, schema_hook=secret_schema)
    structs = (
        vars(schema_parts) | vars(schema_link) | vars(schema_compat) | vars(schema_tracing) | vars(schema)
    )
    for name, definition in both["$defs"].items():
        _complete(definition, both["$defs"], structs[name])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "fastproxy config", **both}


def reference_page() -> str:
    """Return the page that explains every setting, in Markdown."""
    definitions: dict[str, Any] = editor_schema()["$defs"]
    out_parts = _parts("OutConfig", definitions)
    in_parts = _parts("InConfig", definitions)
    chapters = (
        ("The out proxy", [part for part in out_parts if part not in in_parts]),
        ("The in proxy", [part for part in in_parts if part not in out_parts]),
        ("Parts of both", [part for part in out_parts if part in in_parts]),
    )
    lines = [INTRO.rstrip()]
    for title, parts in chapters:
        lines += ["", f"## {title}"]
        for part in parts:
            lines += ["", *_section(part, definitions[part])]
    return "\n".join(lines) + "\n"


def _complete(
    definition: dict[str, Any], definitions: dict[str, Any], struct: type[schema_parts.Strict]
) -> None:
    """Add what the types know and msgspec leaves out: defaults made by factories, what a section is for."""
    for field in msgspec.structs.fields(struct):
        shown = definition["properties"][field.encode_name]
        if field.default_factory is not msgspec.NODEFAULT and "$ref" not in shown:
            shown.setdefault("default", field.default_factory())
        if "$ref" in shown and "description" not in shown:
            shown["description"] = definitions[_target(shown)]["description"]
    if "role" in definition["properties"]:
        definition["properties"]["role"]["description"] = "Which of the two proxies this file is for."


def _parts(root: str, definitions: dict[str, Any]) -> list[str]:
    """Return the names of all definitions that `root` is made of, itself first, each once."""
    found = [root]
    for name in found:
        for target in re.findall(r"'#/\$defs/(\w+)'", str(definitions[name]["properties"])):
            if target not in found:
                found.append(target)
    return found


def _section(name: str, definition: dict[str, Any]) -> Iterator[str]:
    yield f"### {_heading(name)}"
    yield ""
    yield definition["description"]
    yield ""
    yield "| setting | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for setting, shown in definition["properties"].items():
        default = "required" if setting in definition["required"] else _default(shown)
        meaning = shown.get("description", "")
        yield f"| `{setting}` | {_type(shown, setting)} | {default} | {meaning} |"


def _default(shown: dict[str, Any]) -> str:
    if "default" not in shown:
        return "see there"
    value = shown["default"]
    if value in (None, "", [], {}):
        return "none"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"`{text}`"


def _type(shown: dict[str, Any], setting: str = "") -> str:
    """Return a setting's type in words, with its bounds and unit."""
    if "$ref" in shown:
        heading = _heading(_target(shown))
        return f"[{heading}](#{heading.lower().replace(' ', '-')})"
    if "anyOf" in shown:
        return " or ".join(_type(one, setting) for one in shown["anyOf"] if one.get("type") != "null")
    if "enum" in shown:
        return ", ".join(f"`{choice}`" for choice in shown["enum"])
    match shown["type"]:
        case "array":
            return f"list of {_type(shown['items'])}"
        case "object":
            return f"mapping of names to {_type(shown['additionalProperties'])}"
        case "boolean":
            return "`true`, `false`"
        case "string":
            return "text"
        case kind:
            words = ["whole number" if kind == "integer" else "number"]
            words += [text.format(shown[bound]) for bound, text in _BOUNDS if bound in shown]
            unit = next((unit for suffix, unit in _UNITS if setting.endswith(suffix)), "")
            return ", ".join([*words, unit] if unit else words)


def _target(shown: dict[str, Any]) -> str:
    return str(shown["$ref"]).rpartition("/")[2]


def _heading(name: str) -> str:
    """Return the words of a type's name: `KeySource` → `Key source`."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return words[0] + words[1:].lower()


if __name__ == "__main__":
    sys.stdout.write(reference_page())
