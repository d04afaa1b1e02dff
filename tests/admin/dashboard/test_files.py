"""The dashboard's files: what is handed out, with which policy, and that nothing in them goes round it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import fastproxy.admin.dashboard
from fastproxy.admin.answers import AdminError
from fastproxy.admin.dashboard.files import hand_out

FOLDER = Path(fastproxy.admin.dashboard.__file__).parent
SERVED = sorted(
    path.relative_to(FOLDER).as_posix()
    for path in (FOLDER / "assets").rglob("*")
    if path.suffix in (".js", ".css", ".svg")
)
OWN = [name for name in SERVED if "/vendor/" not in name]


def content_of(path: str) -> bytes:
    content = hand_out(path.encode()).content
    assert isinstance(content, bytes)
    return content


def test_the_page_and_all_that_it_loads_are_handed_out() -> None:
    loaded = {"/"}
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        text = content_of(path).decode()
        found = (
            re.findall(r'(?:href|src)="(/[^"#]*)"', text)
            if path == "/"
            else re.findall(r'from "\./([^"]+)"', text)
        )
        for name in found:
            wanted = name if name.startswith("/") else f"{path.rpartition('/')[0]}/{name}"
            if wanted not in loaded:
                loaded.add(wanted)
                waiting.append(wanted)
    assert {f"/{name}" for name in SERVED} == loaded - {"/"}, "each file is loaded by something"


@pytest.mark.parametrize("path", ["/", *(f"/{name}" for name in SERVED)])
def test_each_comes_with_the_policy(path: str) -> None:
    head = hand_out(path.encode()).head.start.decode()
    policy = re.search(r"content-security-policy: (.*)\r\n", head)
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy[1].split("; "))
    assert rules == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert "x-content-type-options: nosniff\r\n" in head
    assert "content-type: text/html; charset=utf-8\r\n" in head if path == "/" else "text/html" not in head


@pytest.mark.parametrize(
    "path",
    [
        "/assets/",
        "/assets",
        "/assets/..",
        "/assets/../files.py",
        "/assets/%2e%2e/files.py",
        "/assets//main.js",
        "/assets/./main.js",
        "/assets/main.js/",
        "/assets/main.js%00.css",
        "/assets/main.mjs",
        "/assets/files.py",
        "/assets/vendor/uplot/LICENSE",
        "/assets/nothing.js",
        "/index.html",
        "/assets/main.js\n",
    ],
)
def test_nothing_else_is(path: str) -> None:
    with pytest.raises(AdminError) as refused:
        hand_out(path.encode())
    assert refused.value.status == 404


def test_the_page_has_no_script_and_no_style_of_its_own() -> None:
    page = content_of("/").decode()
    assert re.findall(r"<script(?![^>]*\ssrc=)[^>]*>|<style|\sstyle=|\son[a-z]+=|javascript:", page) == []


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith(".js")])
def test_no_module_turns_strings_into_markup_or_asks_elsewhere(name: str) -> None:
    text = (FOLDER / name).read_text()
    found = re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|Function\(|setHTML|https?:(?!//www\.w3\.org/2000/svg)",
        text,
    )
    assert found == []


def test_libraries_of_others_stand_with_version_and_licence() -> None:
    vendor = FOLDER / "assets" / "vendor"
    named = json.loads((vendor / "versions.json").read_text())
    assert set(named) == {path.name for path in vendor.iterdir() if path.is_dir()}
    for name, facts in named.items():
        assert (vendor / name / "LICENSE").read_text().strip()
        assert f"(v{facts['version']})" in (vendor / name / f"{name}.js").read_text()[:500]
