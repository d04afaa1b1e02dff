"""The files of `deploy/`: shown in docs/operations.md as they are, with options and settings that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import msgspec
import pytest
import yaml

from fastproxy.cli import main
from fastproxy.config.load import load
from fastproxy.config.schema import InConfig, OutConfig
from fastproxy.config.snapshot import Snapshot
from fastproxy.policy.pattern import parse_pattern

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
PAGE = ROOT / "docs" / "operations.md"
FILES = sorted(
    path.relative_to(DEPLOY)
    for path in DEPLOY.rglob("*")
    if path.is_file() and path.parent.name not in ("grafana", "prometheus")
)
"""All but those that docs/metrics.md tells of."""
COMMAND = re.compile(r"(?:^ *|[`/] ?|[;&=] *)fastproxy +(?=[a-z])([^`\n|;&#\"]*)", re.MULTILINE)


def test_the_page_shows_every_file_as_it_is() -> None:
    shown = re.findall(
        r"^`deploy/([^`]+)`:\n\n```\w+\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert len(FILES) >= 7
    assert dict(shown) == {str(name): (DEPLOY / name).read_text() for name in FILES}


# --- commands -------------------------------------------------------------------------------------------


def command_lines(text: str) -> list[list[str]]:
    """The words behind `fastproxy` wherever a text calls it."""
    text = re.sub(r"\\\n\s*", " ", text)
    return [words for found in COMMAND.findall(text) if (words := shlex.split(found, comments=True))]


def exec_forms(text: str) -> list[list[str]]:
    """The words behind `fastproxy` in lists of arguments: of a Containerfile, and of Kubernetes."""
    lists: list[list[str]] = [
        [word.strip().strip('"') for word in found.split(",")]
        for found in re.findall(r"\[([^\]\n]*)\]", text)
    ]
    return [words[1:] for words in lists if words[0] == "fastproxy" and len(words) > 1]


def misspelt(words: list[str]) -> list[str]:
    """What of a command line isn't known: the command, or options of it."""
    context = click.Context(main)
    command = main.get_command(context, words[0])
    if command is None:
        return words[:1]
    known = {option for parameter in command.params for option in parameter.opts} | {"--"}
    own = words[1 : words.index("--")] if "--" in words else words[1:]
    return [word for word in own if word.startswith("-") and word not in known]


@pytest.mark.parametrize("path", [*(DEPLOY / name for name in FILES), PAGE], ids=lambda path: path.name)
def test_every_command_and_option_exists(path: Path) -> None:
    text = path.read_text()
    for words in [*command_lines(text), *exec_forms(text)]:
        assert misspelt(words) == [], words


def test_commands_are_found_where_they_stand() -> None:
    """Or else the test before this one would hold nothing."""
    found = {
        words[0]
        for path in (*(DEPLOY / name for name in FILES), PAGE)
        for words in (*command_lines(path.read_text()), *exec_forms(path.read_text()))
    }
    assert {"run", "wait", "stop", "check"} <= found
    assert misspelt(["run", "x.yaml", "--redy-file", "x", "--with", "--", "job", "--its-own"]) == [
        "--redy-file"
    ]
    assert misspelt(["rnu"]) == ["rnu"]


def sections() -> dict[str, set[str]]:
    """The settings of each section of either config."""
    found: dict[str, set[str]] = {}
    for config in (OutConfig, InConfig):
        for name, hint in get_type_hints(config).items():
            for kind in (hint, *get_args(hint)):
                if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                    found.setdefault(name, set()).update(kind.__struct_fields__)
    return found


def test_every_setting_that_the_page_names_exists() -> None:
    known = sections()
    named = re.findall(r"`([a-z_]+)\.([a-z_]+)[`:]", PAGE.read_text())
    assert ("drain", "delay_s") in named
    assert [f"{section}.{name}" for section, name in named if name not in known.get(section, {name})] == []


# --- configs --------------------------------------------------------------------------------------------


def documents(name: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all((DEPLOY / name).read_text()) if each]


def loaded(text: str, folder: Path) -> Snapshot:
    file = folder / "config.yaml"
    file.write_text(text)
    return load(file, check_pattern=parse_pattern, environ={"FASTPROXY_PRIVATE_KEY": "11" * 32})


@pytest.mark.parametrize("name", [name for name in FILES if name.suffix == ".yaml"], ids=str)
def test_configs_can_be_used_and_ports_and_times_agree(name: Path, tmp_path: Path) -> None:
    manifests = documents(name)
    configs = {each["metadata"]["name"]: each["data"]["config.yaml"] for each in manifests if "data" in each}
    assert bool(configs) == (name.name != "job.yaml")
    for text in configs.values():
        snapshot = loaded(text, tmp_path)
        assert not snapshot.warnings
        pod = next(each for each in manifests if each["kind"] == "Deployment")["spec"]["template"]["spec"]
        containers = [*pod.get("initContainers", ()), *pod["containers"]]
        proxy = next(each for each in containers if each["name"] == "fastproxy")
        ports = {each["name"]: each["containerPort"] for each in proxy["ports"]}
        assert snapshot.admin is not None
        assert ports["admin"] == snapshot.admin.address.port
        assert ports.get("sealed", snapshot.listen.port) == snapshot.listen.port
        drain = snapshot.config.drain
        assert pod["terminationGracePeriodSeconds"] > drain.delay_s + drain.grace_s + 5


SMALLEST = """
role: in
private_key: {env: FASTPROXY_PRIVATE_KEY}
services: {api: {endpoints: ["127.0.0.1:8000"]}}
"""


# --- systemd --------------------------------------------------------------------------------------------


def test_the_socket_unit_is_bound_where_configs_listen_by_default(tmp_path: Path) -> None:
    bound = re.search(
        r"^ListenStream=(.*)$", (DEPLOY / "systemd/fastproxy@.socket").read_text(), re.MULTILINE
    )
    config = loaded(SMALLEST, tmp_path)
    assert bound is not None
    assert bound[1] == str(config.listen)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for name in FILES:
        if name.parts[0] == "systemd":
            target = tmp_path / name.relative_to("systemd")
            target.parent.mkdir(exist_ok=True)
            # The program need not be installed where this is tried.
            target.write_text(
                (DEPLOY / name)
                .read_text()
                .replace("/opt/fastproxy/bin/fastproxy", shutil.which("true") or "")
            )
    shutil.rmtree(tmp_path / "fastproxy@.service.d")  # only for systemd 253 and later
    units = [str(tmp_path / f"fastproxy@web.{kind}") for kind in ("service", "socket")]
    done = subprocess.run(
        ["systemd-analyze", "--man=no", "verify", *units],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    mine = [line for line in done.stderr.splitlines() if "fastproxy" in line]
    assert (done.returncode, mine) == (0, [])
