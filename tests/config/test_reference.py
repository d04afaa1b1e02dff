"""The reference page and the schema say what the types say, and their examples load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator

from fastproxy.config.reference import editor_schema, reference_page
from fastproxy.config.schema import OutConfig
from fastproxy.config.snapshot import InSnapshot
from fastproxy.errors import TABLE
from tests.certificates import Authority, write_files
from tests.config.conftest import Folder

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", reference_page(), re.DOTALL)


def properties() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, definition in editor_schema()["$defs"].items():
        for setting, shown in definition["properties"].items():
            yield name, setting, shown


def test_the_committed_page_is_the_generated_one() -> None:
    advice = "run: python -m fastproxy.config.reference > docs/configuration.md"
    assert PAGE.read_text("utf-8") == reference_page(), advice


def test_every_setting_is_described_and_on_the_page() -> None:
    page = reference_page()
    for name, setting, shown in properties():
        assert shown.get("description"), f"{name}.{setting}"
        assert f"| `{setting}` |" in page


def test_every_setting_has_a_default_in_the_schema_or_is_required() -> None:
    definitions = editor_schema()["$defs"]
    for name, setting, shown in properties():
        known = "default" in shown or "$ref" in shown or setting in definitions[name]["required"]
        assert known, f"{name}.{setting}"


def test_defaults_in_the_schema_are_the_real_ones() -> None:
    shown = editor_schema()["$defs"]["OutLimits"]["properties"]
    real = msgspec.convert({"role": "out"}, OutConfig).limits
    assert {name: field["default"] for name, field in shown.items()} == msgspec.structs.asdict(real)


def test_the_schema_takes_what_the_types_take() -> None:
    schema = editor_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    for text in EXAMPLES:
        # YAML 1.1 reads 0660 as a number and dates as dates, editors (YAML 1.2) and `load` don't.
        quoted = re.sub(r"0660|20\d\d-\d\d-\S+Z", r"'\g<0>'", text)
        validator.validate(yaml.load(quoted, Loader=yaml.SafeLoader))
    assert not validator.is_valid({"role": "in", "privilages": []})
    assert not validator.is_valid({"role": "both"})


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_examples_load(folder: Folder, text: str) -> None:
    for name in ("shop-in", "shop-in-2", "web", "mobile", "batch-reports", "batch-mail"):
        folder.key(name)
    (folder.path / "callers").mkdir()
    for name in ("web", "mobile", "batch-reports", "batch-mail"):
        (folder.path / "callers" / f"{name}.pub").write_text(folder.key(name) + "\n")
    for name in ("sign.web", "sign.app", "encrypt.shop"):
        folder.secret(name, f"{name:-<16}")
    authority = Authority("shop CA")
    write_files(folder.path, "shop-in", authority.issue(dns_names=["shop-in.shop.example"]), authority.pem)
    write_files(folder.path, "web", authority.issue(["spiffe://shop.example/web"]), authority.pem)
    environ = {"BATCH_MAIL_KEY": (folder.path / "batch-mail.key").read_text(), "CENTER_TOKEN": "t" * 16}
    snapshot = folder.load(text, environ)
    assert snapshot.services


def test_ten_services_behind_one_in_proxy_take_25_lines(folder: Folder) -> None:
    gateway = EXAMPLES[0]
    assert len(gateway.splitlines()) <= 25
    folder.key("shop-in")
    (folder.path / "callers").mkdir()
    for name in ("web", "mobile", "batch-reports", "batch-mail"):
        (folder.path / "callers" / f"{name}.pub").write_text(folder.key(name) + "\n")
    snapshot = folder.load(gateway)
    assert isinstance(snapshot, InSnapshot)
    assert len(snapshot.services) == 10
    assert snapshot.grants[0].services == tuple(sorted(snapshot.services))
    assert snapshot.grants[2].callers == ("batch-mail", "batch-reports")
    assert snapshot.services["stock"].settings.timeout_s == 3
    assert snapshot.services["mail"].settings.timeout_s == 30


def test_settings_that_error_advice_names_exist() -> None:
    known = {setting for _, setting, _ in properties()}
    for cause in TABLE.values():
        for dotted in re.findall(r"`([a-z_.]+)`", cause.advice):
            assert set(dotted.split(".")) <= known, (cause.label, dotted)
