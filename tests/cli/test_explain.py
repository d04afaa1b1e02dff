"""`fastproxy explain`: the decision, the lines that decide, and what nearly would have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Call

PRIVILEGES = """\
privileges:
  - {callers: [web], services: [api], methods: [POST], paths: [/api/service], rate: {per_s: 100, burst: 20}}
  - {callers: ["*"], services: [search], methods: [GET]}
  - {callers: [web], services: [api], methods: [POST], paths: [/api/**]}
"""


@pytest.fixture
def ruled(pair: Call) -> tuple[Call, int]:
    """A pair whose in.yaml has the privileges above, and the line of the first."""
    text = Path("in.yaml").read_text()
    head, _, _ = text.partition("privileges:\n")
    Path("in.yaml").write_text(head + PRIVILEGES)
    return pair, len(head.splitlines()) + 2


def test_the_in_proxy_names_the_line_that_allows(ruled: tuple[Call, int]) -> None:
    call, line = ruled
    result = call("explain", "in.yaml", "--caller", "web", "POST", "/api/api/service?x=1")
    assert result.exit_code == 0
    assert "FORWARDED: web may send POST /api/service?x=1 to api" in result.output
    assert f"privilege   in.yaml:{line}, pattern /api/service" in result.output
    assert "100 per s, burst 20" in result.output
    assert f"also holds, but is less specific or further down: in.yaml:{line + 2}" in result.output


def test_the_judged_path_is_the_canonical_one(ruled: tuple[Call, int]) -> None:
    call, line = ruled
    result = call("explain", "in.yaml", "POST", "http://api/%61pi/service")
    assert f"privilege   in.yaml:{line}, pattern /api/service" in result.output


def test_a_refusal_names_the_row_and_the_near_misses(ruled: tuple[Call, int]) -> None:
    call, line = ruled
    result = call("explain", "in.yaml", "--caller", "web", "GET", "/api/api/service")
    assert result.exit_code == 1
    assert "403 no_privilege in privilege" in result.output
    assert f"near miss: in.yaml:{line} would hold, but the method isn't in it" in result.output


@pytest.mark.parametrize(
    ("arguments", "row"),
    [
        (("--caller", "stranger", "GET", "/search/"), "401 identity_unproven"),
        (("GET", "/nowhere/"), "404 service_unknown"),
        (("GET", "/search/a/%2e%2e/b"), "400 ambiguous_path"),
        (("GET", "/search/%zz"), "400 malformed_request"),
    ],
)
def test_other_refusals_at_the_in_proxy(
    ruled: tuple[Call, int], arguments: tuple[str, ...], row: str
) -> None:
    result = ruled[0]("explain", "in.yaml", *arguments)
    assert result.exit_code == 1
    assert row in result.output


def test_report_mode_lets_it_pass_and_says_so(ruled: tuple[Call, int]) -> None:
    Path("in.yaml").write_text(Path("in.yaml").read_text() + "enforce: report\n")
    result = ruled[0]("explain", "in.yaml", "DELETE", "/api/x")
    assert result.exit_code == 0
    assert "lets it pass all the same" in result.output


@pytest.mark.parametrize(
    "url", ["/api/a?b", "http://127.0.0.1:8034/api/a?b", "http://localhost:8034/api/a?b", "http://api/a?b"]
)
def test_the_out_proxy_names_service_receiver_and_endpoints(pair: Call, url: str) -> None:
    result = pair("explain", "out.yaml", "GET", url)
    assert result.exit_code == 0
    assert "FORWARDED: web may send GET /a?b to api" in result.output
    for line in ("receiver    services-in (out.yaml:", "endpoints   127.0.0.1:8033", "deadline    15 s"):
        assert line in result.output


@pytest.mark.parametrize(
    ("arguments", "row"),
    [
        (("GET", "/nowhere/"), "404 service_unknown"),
        (("--caller", "x", "GET", "/api/"), "401 caller_unknown"),
    ],
)
def test_refusals_at_the_out_proxy(pair: Call, arguments: tuple[str, ...], row: str) -> None:
    result = pair("explain", "out.yaml", *arguments)
    assert result.exit_code == 1
    assert row in result.output


def test_a_config_that_is_wrong_is_told_like_in_check(call: Call) -> None:
    Path("bad.yaml").write_text("role: out\n")
    result = call("explain", "bad.yaml", "GET", "/api/")
    assert result.exit_code == 2
    assert "bad.yaml:1: `caller` is missing" in result.output


@pytest.mark.parametrize("url", ["ftp://x/", "api/x", "http://[", "/é"])
def test_what_is_no_url_is_refused(pair: Call, url: str) -> None:
    assert pair("explain", "out.yaml", "GET", url).exit_code == 2
