"""`fastproxy explain`: the decision, the lines that decide, and what nearly would have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.certificates import Authority, write_files
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
    ("transport", "told"),
    [("link", "transport   link, compress"), ("http", "transport   http, aes-256-gcm, compress")],
)
def test_the_out_proxy_names_the_way_and_who_proves_what(pair: Call, transport: str, told: str) -> None:
    text = Path("out.yaml").read_text()
    assert "defaults: {" in text
    Path("out.yaml").write_text(text.replace("defaults: {", f"defaults: {{transport: {transport}, "))
    output = pair("explain", "out.yaml", "GET", "/api/a").output
    for line in (told, "identity    web proves itself by its key", "), which proves itself by its key"):
        assert line in output


def test_the_in_proxy_names_what_proves_the_caller(ruled: tuple[Call, int]) -> None:
    call, _ = ruled
    text = Path("in.yaml").read_text()
    Path("in.yaml").write_text(
        text.replace("listen: {", "listen: {accept: [link, http], ").replace(
            "callers:", "callers_dir: more\ncallers:", 1
        )
    )
    Path("more").mkdir()
    assert call("keys", "new", "app", "-d", "more").exit_code == 0
    output = call("explain", "in.yaml", "GET", "/search/").output
    line = text.splitlines().index("callers:") + 3
    assert f"identity    one of 1 key(s) (in.yaml:{line}), over link or http" in output
    assert "identity    one of 1 key(s) (more/app.pub), over link or http" in output


def test_certificates_are_named_where_they_prove(call: Call) -> None:
    authority = Authority("shop CA")
    web, shop = "spiffe://shop.example/web", "shop-in.example"
    write_files(Path(), "web", authority.issue([web]), authority.pem)
    write_files(Path(), "shop-in", authority.issue(dns_names=[shop]), authority.pem)
    tls = "tls: {{certificate: {0}.crt, private_key: {0}.pem, authorities: {0}-ca.crt}}"
    Path("out.yaml").write_text(
        f"role: out\ncaller: web\n{tls.format('web')}\n"
        f"receivers: {{shop-in: {{tls_id: {shop}, endpoints: ['h:1']}}}}\n"
        "services: {cart: {transport: link, receiver: shop-in}}\n"
    )
    Path("in.yaml").write_text(
        f"role: in\nname: shop-in\nlisten: {{accept: [link], {tls.format('shop-in')}}}\n"
        f"callers: {{web: {{tls_id: '{web}'}}}}\nservices: {{cart: {{endpoints: ['h:1']}}}}\n"
        "privileges: [{callers: [web], services: [cart]}]\n"
    )
    sent = call("explain", "out.yaml", "GET", "/cart/").output
    assert f"receiver    shop-in (out.yaml:4), which proves itself by its certificate as {shop}" in sent
    assert "identity    web proves itself by its certificate" in sent
    taken = call("explain", "in.yaml", "GET", "/cart/").output
    assert f"identity    the certificate of {web} (in.yaml:4), over link" in taken
    assert "for link inside TLS, 1 service(s)" in call("check", "in.yaml").output


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
