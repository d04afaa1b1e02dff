"""The OpenAPI document of the admin API, made from the table that serves it, so that it says what is.

Schemas come from the types by msgspec (JSON Schema 2020-12, as OpenAPI 3.1 has it).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from fastproxy import __version__
from fastproxy.admin.api.model import Problem
from fastproxy.admin.api.operations import Operation

_REFERENCE = "#/components/schemas/{name}"
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`admin.token` or `admin.reader_token`."},
    "basic": {"type": "http", "scheme": "basic", "description": "The same token as the password."},
}
_WORDS = """\
What a fastproxy tells of itself, and what it can be told. Asked for at the address of `admin.address`: over a
Unix socket without a token, else with one, as the config says. Times are Unix seconds."""


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the document that describes these operations."""
    operations = list(operations)
    types = [Problem, *(each for one in operations for each in (one.answers, one.said) if each is not None)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    known = iter(schemas)
    problem = {
        "description": "It was refused, or failed; `detail` says why and what to do.",
        "content": {"application/problem+json": {"schema": next(known)}},
    }
    paths: dict[str, dict[str, Any]] = {}
    for one in operations:
        content = "application/x-ndjson" if one.is_stream else "application/json"
        described: dict[str, Any] = {
            "operationId": one.name,
            "summary": one.words,
            "responses": {
                str(one.status): {
                    "description": "An object a line, as it happens." if one.is_stream else "As asked.",
                    "content": {content: {"schema": next(known)}},
                },
                "default": problem,
            },
        }
        if parameters := [*_in_path(one), *_in_query(one)]:
            described["parameters"] = parameters
        if one.said is not None:
            described["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": next(known)}},
            }
        paths.setdefault(one.path, {})[one.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "fastproxy admin API", "version": __version__, "description": _WORDS},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"basic": []}, {}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _SECURITY},
    }


def _in_path(operation: Operation) -> Iterable[dict[str, Any]]:
    _, _, name = operation.path.rstrip("}").partition("{")
    if name:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _in_query(operation: Operation) -> Iterable[dict[str, Any]]:
    if operation.query is not None:
        for name, schema in _fields(operation.query).items():
            words = schema.pop("description", "")
            yield {"name": name, "in": "query", "required": False, "description": words, "schema": schema}


def _fields(kind: type[Struct]) -> dict[str, dict[str, Any]]:
    _, components = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    fields: dict[str, dict[str, Any]] = components[kind.__name__]["properties"]
    return fields
