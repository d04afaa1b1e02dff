"""The settings of traces: where spans go, and what is wrong with that."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastproxy.config.changes import changes
from fastproxy.config.snapshot import OutSnapshot
from tests.config.conftest import Folder

TOKEN = "Bearer 0123456789"
PAGE = Path(__file__).parents[2] / "docs" / "tracing.md"
EXAMPLES = re.findall(r"```yaml\ntracing:\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def text(folder: Folder, tracing: str) -> str:
    folder.key("web")
    return f"""\
role: out
name: edge
caller: web
private_key: {{file: web.key}}
services:
  api:
    receiver: {{name: in, public_keys: [{folder.key("in")}]}}
    endpoints: ["127.0.0.1:8033"]
tracing: {tracing}
"""


def loaded(folder: Folder, tracing: str) -> OutSnapshot:
    snapshot = folder.load(text(folder, tracing))
    assert isinstance(snapshot, OutSnapshot)
    return snapshot


def test_nothing_is_traced_unless_said(folder: Folder) -> None:
    snapshot = loaded(folder, "null")
    assert (snapshot.tracing, snapshot.config.tracing) == (None, None)


def test_an_empty_section_traces_with_defaults(folder: Folder) -> None:
    snapshot = loaded(folder, "{}")
    assert snapshot.tracing is not None
    assert snapshot.config.tracing is not None
    assert snapshot.tracing.resource == {"service.name": "edge"}
    assert snapshot.config.tracing.sample == 0.01
    assert snapshot.warnings == ()


def test_headers_are_secrets_and_not_for_plain_http_to_other_machines(folder: Folder) -> None:
    folder.secret("collector", TOKEN)
    headers = "headers: {authorization: {file: collector.secret}}"
    for url, is_exposed in (
        ("http://127.0.0.1:4318/x", 0),
        ("https://otel.example/x", 0),
        ("http://10.0.0.1/x", 1),
    ):
        snapshot = loaded(folder, f"{{endpoint: '{url}', {headers}}}")
        assert snapshot.tracing is not None
        assert snapshot.tracing.headers["authorization"].reveal() == TOKEN.encode()
        assert TOKEN not in repr(snapshot)
        assert [warning.path for warning in snapshot.warnings] == ["tracing.headers"] * is_exposed
    before = loaded(folder, f"{{{headers}}}")
    folder.secret("collector", "another one")
    (change,) = changes(before, loaded(folder, f"{{{headers}}}"))
    assert (change.path, change.after) == ("tracing.headers.authorization", "(other content)")
    assert not change.takes_processes


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:4318", "ftp://127.0.0.1/x", "http://", "http:///v1", "http://a b/", "http://u@h/x", "http://h:0/",
     "http://h/x?y=1", "http://h/x#y", "http://unix:/run/x"],
)  # fmt: skip
def test_what_is_no_url_of_a_collector_is_refused(folder: Folder, url: str) -> None:
    (problem,) = folder.problems(text(folder, f"{{endpoint: '{url}'}}"))
    assert problem.path == "tracing.endpoint"


@pytest.mark.parametrize(
    ("tracing", "path"),
    [
        ("{sample: 1.5}", "tracing.sample"),
        ("{rules: [{sample: -1}]}", "tracing.rules[0].sample"),
        ("{rules: [{callers: [], sample: 1}]}", "tracing.rules[0].callers"),
        ("{queue_exchanges: 0}", "tracing.queue_exchanges"),
        ("{authorities: nowhere.pem}", "tracing.authorities"),
        ("{headers: {authorization: {file: nowhere}}}", "tracing.headers.authorization"),
    ],
)
def test_what_is_wrong_is_named(folder: Folder, tracing: str, path: str) -> None:
    (problem,) = folder.problems(text(folder, tracing))
    assert problem.path == path


def test_without_the_extra_the_advice_is_how_to_get_it(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastproxy.config.resolve_tracing._PACKAGES", ("not_installed.at.all",))
    (problem,) = folder.problems(text(folder, "{}"))
    assert "fastproxy-link[tracing]" in problem.suggestion


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_page_load(folder: Folder, example: str) -> None:
    folder.secret("collector", TOKEN)
    assert loaded(folder, f"\n{example}").warnings == ()


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == 2
