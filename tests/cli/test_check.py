"""`fastproxy check`, and how commands are found."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from threading import Event
from typing import Any

import click
import pytest

from fastproxy.config.load import load
from fastproxy.config.snapshot import Snapshot
from tests.cli.conftest import Call

check: Any = import_module("fastproxy.cli.check")


def test_files_that_can_be_used(pair: Call) -> None:
    result = pair("check", "out.yaml", "in.yaml")
    assert result.exit_code == 0
    assert "out.yaml: ok: out proxy for web at 127.0.0.1:8034, 2 service(s) over " in result.output
    assert "in.yaml: ok: in proxy services-in at 127.0.0.1:8033 for " in result.output


def test_the_ways_between_the_proxies_are_told(pair: Call) -> None:
    text = Path("out.yaml").read_text()
    assert "defaults: {" in text
    Path("out.yaml").write_text(
        text.replace("defaults: {", "defaults: {transport: link, ").replace(
            '"search": {}', '"search": {transport: http}'
        )
    )
    text = Path("in.yaml").read_text()
    Path("in.yaml").write_text(text.replace("listen: {", "listen: {accept: [link, http], "))
    output = pair("check", "out.yaml", "in.yaml").output
    assert "2 service(s) over http, link\n" in output
    assert "at 127.0.0.1:8033 for link, http, 2 service(s)" in output


def test_problems_are_told_with_line_path_and_advice(pair: Call) -> None:
    Path("in.yaml").write_text(Path("in.yaml").read_text() + "privilages: []\n")
    line = len(Path("in.yaml").read_text().splitlines())
    result = pair("check", "in.yaml", "out.yaml")
    assert result.exit_code == 1
    assert f"in.yaml:{line}: privilages: unknown key (did you mean privileges?)" in result.output
    assert "in.yaml: 1 problem(s); it can't be used" in result.output


def test_a_file_that_takes_long_is_spoken_of_meanwhile(pair: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Event()
    echo = click.echo

    def echo_and_tell(*args: Any, **more: Any) -> None:
        echo(*args, **more)
        if more.get("err"):
            said.set()

    def load_slowly(*args: Any, **more: Any) -> Snapshot:
        assert said.wait(30)
        return load(*args, **more)

    monkeypatch.setattr(check, "PATIENCE_S", 0.0)
    monkeypatch.setattr(check.click, "echo", echo_and_tell)
    monkeypatch.setattr(check, "load", load_slowly)
    result = pair("check", "in.yaml", "out.yaml")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        f"{file}: still reading and checking …" for file in ("in.yaml", "out.yaml")
    ]


def test_a_file_that_takes_no_time_is_not_spoken_of(pair: Call) -> None:
    assert not pair("check", "in.yaml", "out.yaml").stderr


def test_problems_as_json(pair: Call) -> None:
    Path("in.yaml").write_text(Path("in.yaml").read_text() + "enforce: report\n")
    Path("bad.yaml").write_text("role: out\n")
    result = pair("check", "--json", "in.yaml", "bad.yaml", "none.yaml")
    good, bad, missing = json.loads(result.output)
    assert result.exit_code == 1
    assert (good["ok"], good["warnings"][0]["path"]) == (True, "enforce")
    assert not bad["ok"]
    assert {"file", "line", "path", "message", "suggestion"} == bad["problems"][0].keys()
    assert "can't be read" in missing["problems"][0]["message"]


def test_the_schema_for_editors(call: Call) -> None:
    schema = json.loads(call("check", "--schema").output)
    assert schema["$defs"]["InConfig"]["properties"]["max_clock_skew_s"]["default"] == 30


def test_without_a_file_it_says_how_it_is_used(call: Call) -> None:
    assert call("check").exit_code == 2


def test_the_command_line_loads_only_what_a_command_needs() -> None:
    modules = "('rich', 'jsonschema', 'msgspec', 'yaml')"
    code = f"import sys, fastproxy.cli; print([m for m in {modules} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_a_good_config_loads_without_the_schema_validator(pair: Call) -> None:
    code = (
        "import sys; from fastproxy.config.load import load; load('in.yaml', check_pattern=lambda *_: None);"
        "print([m for m in ('rich','jsonschema','click') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def date_the_callers_key(not_after: str) -> None:
    """Give the only key of the caller in `in.yaml` a date."""
    text, dated = re.subn(
        r'public_keys: \["?([0-9a-f]{64})"?\]',
        rf"public_keys: [{{key: \1, not_after: {not_after}}}]",
        Path("in.yaml").read_text(),
    )
    assert dated == 1
    Path("in.yaml").write_text(text)


def test_a_name_whose_keys_have_all_ended_is_a_problem_though_the_proxy_runs(pair: Call) -> None:
    date_the_callers_key("2020-01-31T00:00:00Z")
    result = pair("check", "in.yaml")
    assert result.exit_code == 1
    assert "every public key of caller web has passed its date" in result.output
    assert "in.yaml: 1 problem(s); it would run without them" in result.output
    (report,) = json.loads(pair("check", "--json", "in.yaml").output)
    assert not report["ok"]
    assert report["problems"][0]["path"] == "callers.web.public_keys"
    explained = pair("explain", "in.yaml", "--caller", "web", "GET", "/api/a")
    assert explained.exit_code == 1
    assert "401 identity_unproven" in explained.output
    assert "every public key of web has passed its date" in explained.output


def test_explain_says_until_when_a_key_proves_whom(pair: Call) -> None:
    date_the_callers_key("9999-01-31T00:00:00Z")
    assert pair("check", "in.yaml").exit_code == 0
    explained = pair("explain", "in.yaml", "GET", "/api/a").output
    assert "identity    one of 1 key(s), until 9999-01-31T00:00:00Z (in.yaml:" in explained
    text = Path("out.yaml").read_text()
    for year, exit_code, words in (
        (9999, 0, ", which proves itself by its key, until 9999-01-31T00:00:00Z"),
        (2020, 1, "502 receiver_key_ended"),
    ):
        dated = re.sub(
            r'public_keys: \["?([0-9a-f]{64})"?\]',
            rf"public_keys: [{{key: \1, not_after: {year}-01-31T00:00:00Z}}]",
            text,
        )
        Path("out.yaml").write_text(dated)
        result = pair("explain", "out.yaml", "GET", "/api/a")
        assert result.exit_code == exit_code
        assert words in result.output
