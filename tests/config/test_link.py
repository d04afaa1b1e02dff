"""Transport `link` and identities by certificate: what loads, what is refused."""

from __future__ import annotations

import pytest

from fastproxy.config.snapshot import InSnapshot, OutSnapshot
from tests.certificates import DAY, NOW, Authority, write_files
from tests.config.conftest import Folder

WEB, SHOP = "spiffe://shop.example/web", "shop-in.shop.example"
OUT = f"""\
role: out
caller: web
tls: {{certificate: web.crt, private_key: web.pem, authorities: web-ca.crt}}
receivers:
  shop-in: {{tls_id: {SHOP}, endpoints: [127.0.0.1:8033]}}
services:
  cart: {{transport: link, receiver: shop-in}}
"""
IN = f"""\
role: in
name: shop-in
listen:
  accept: [link]
  tls: {{certificate: shop-in.crt, private_key: shop-in.pem, authorities: shop-in-ca.crt}}
callers:
  web: {{tls_id: "{WEB}"}}
  app: {{tls_id: app.shop.example}}
services:
  cart: {{endpoints: [127.0.0.1:9000]}}
privileges:
  - {{callers: [web], services: [cart]}}
"""


@pytest.fixture
def shop(folder: Folder) -> Folder:
    """A folder with the certificates of the examples."""
    authority = Authority("shop CA")
    write_files(folder.path, "web", authority.issue([WEB]), authority.pem)
    write_files(folder.path, "shop-in", authority.issue(dns_names=[SHOP]), authority.pem)
    return folder


# --- what loads ---------------------------------------------------------------------------------------------


def test_links_are_made_with_the_keys_that_http_is_sealed_with(folder: Folder) -> None:
    folder.key("web")
    text = f"""\
role: out
caller: web
private_key: {{file: web.key}}
receivers:
  shop-in: {{public_keys: [{folder.key("shop-in")}], endpoints: [h:8033]}}
services:
  cart: {{receiver: shop-in, transport: link}}
  mail: {{receiver: shop-in, transport: http}}
link: {{max_age_s: 60, wait_s: 0}}
"""
    snapshot = folder.load(text)
    assert isinstance(snapshot, OutSnapshot)
    cart, mail = snapshot.services["cart"], snapshot.services["mail"]
    assert cart.receiver is mail.receiver
    assert (cart.settings.transport, mail.settings.transport) == ("link", "http")
    link = snapshot.config.link
    assert (link.max_age_s, link.wait_s, link.idle_timeout_s, link.ping_interval_s) == (60, 0, 300, 15)
    assert (link.stream_window_bytes, link.window_bytes) == (2**20, 2**24)
    assert snapshot.tls is None


def test_link_is_the_default(folder: Folder) -> None:
    folder.key("web")
    receiver = f"{{name: shop-in, public_keys: [{folder.key('shop-in')}]}}"
    services = f"services: {{cart: {{receiver: {receiver}, endpoints: ['h:1']}}}}"
    out = folder.load(f"role: out\ncaller: web\nprivate_key: {{file: web.key}}\n{services}\n")
    inside = folder.load(
        "role: in\nprivate_key: {file: shop-in.key}\nservices: {cart: {endpoints: ['h:1']}}\n"
    )
    assert isinstance(out, OutSnapshot)
    assert isinstance(inside, InSnapshot)
    assert out.services["cart"].settings.transport == "link"
    assert inside.config.listen.accept == ["link", "http"]


def test_all_ways_in_share_a_port(folder: Folder) -> None:
    folder.key("shop-in")
    folder.secret("s", "sixteen bytes or")
    snapshot = folder.load(f"""\
role: in
listen: {{accept: [link, http, compat]}}
private_key: {{file: shop-in.key}}
callers: {{web: {{public_keys: [{folder.key("web")}]}}}}
compat: {{sign_keys: {{s: {{file: s.secret}}}}, callers: {{app: {{sign: [s], encrypt: []}}}}}}
services: {{cart: {{endpoints: [h:1]}}}}
privileges: [{{callers: ["*"], services: [cart]}}]
""")
    assert isinstance(snapshot, InSnapshot)
    assert snapshot.config.listen.accept == ["link", "http", "compat"]
    link = snapshot.config.link
    assert (link.streams, link.links_per_caller, link.handshakes) == (4096, 256, 256)
    assert (link.new_links_per_peer_per_s, link.max_age_s, link.idle_timeout_s) == (50, 90_000, 600)
    assert snapshot.config.limits.tunnel_idle_timeout_s == 3600


def test_certificates_take_the_place_of_keys(shop: Folder) -> None:
    out, inside = shop.load(OUT), shop.load(IN)
    assert isinstance(out, OutSnapshot)
    assert isinstance(inside, InSnapshot)
    assert out.tls is not None
    assert inside.tls is not None
    assert (out.tls.certificate, inside.tls.private_key) == (shop.path / "web.crt", shop.path / "shop-in.pem")
    receiver = out.services["cart"].receiver
    assert receiver is not None
    assert (receiver.tls_id, receiver.public_keys, out.caller_keys) == (SHOP, (), {})
    assert {name: peer.tls_id for name, peer in inside.callers.items()} == {
        "web": WEB,
        "app": "app.shop.example",
    }
    assert inside.private_keys == ()
    assert not out.warnings + inside.warnings


def test_receivers_with_keys_and_with_certificates_side_by_side(shop: Folder) -> None:
    shop.key("web")
    written_out = f"{{name: mail-in, public_keys: [{shop.key('mail-in')}]}}"
    more = f"  mail: {{transport: http, receiver: {written_out}, endpoints: [h:1]}}\n"
    (problem,) = shop.problems(OUT + more)
    assert (problem.path, problem.message) == ("", "`private_key` is missing")
    snapshot = shop.load(OUT + more + "private_key: {file: web.key}\n")
    assert isinstance(snapshot, OutSnapshot)
    assert snapshot.caller_keys.keys() == {"web"}


def test_a_certificate_that_nobody_asks_for_is_warned_of(shop: Folder) -> None:
    shop.key("web")
    by_key = OUT.replace(f"tls_id: {SHOP}", f"public_keys: [{shop.key('shop-in')}]")
    snapshot = shop.load(by_key + "private_key: {file: web.key}\n")
    assert [warning.path for warning in snapshot.warnings] == ["tls"]


@pytest.mark.parametrize(
    "tls_id",
    [WEB, "spiffe://a-b_c.1/x/Y.z_-", "localhost", "a.b-c.d", "_svc.1a.example", "x" * 63 + ".example"],
)
def test_names_that_a_certificate_can_bear(shop: Folder, tls_id: str) -> None:
    snapshot = shop.load(IN.replace(WEB, "other").replace("app.shop.example", f'"{tls_id}"'))
    assert isinstance(snapshot, InSnapshot)
    assert snapshot.callers["app"].tls_id == tls_id


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tls_id",
    [
        *(
            "Web.example",
            "*.example",
            "web.",
            "web..example",
            "-web",
            "10.0.0.1",
            "1",
            "x" * 64,
            "web example",
        ),
        *("spiffe://shop.example", "spiffe://shop.example/", "spiffe://Shop/x", "spiffe://a/b//c"),
        *("spiffe://a/../b", "spiffe://a/b?c", "SPIFFE://a/b", "https://a/b", "spiffe://a/b%2f", "web\\n"),
    ],
)
def test_names_that_no_certificate_is_known_by(shop: Folder, tls_id: str) -> None:
    (problem,) = shop.problems(IN.replace("app.shop.example", f'"{tls_id}"'))
    assert problem.path == "callers.app.tls_id"
    assert "neither a SPIFFE URI nor a DNS name" in problem.message


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (("transport: link, ", "transport: http, "), "services.cart.transport", "`transport: link` alone"),
        (("transport: link", "cipher: aes-256-gcm, transport: link"), "services.cart.cipher", "no meaning"),
        (("transport: link", "transport: lin"), "services.cart.transport", "did you mean link?"),
        (("tls: {", "tls_: {"), "receivers.shop-in.tls_id", "a certificate of this proxy, in `tls`"),
        (
            ("tls_id: shop", "public_keys: [x], tls_id: shop"),
            "receivers.shop-in.tls_id",
            "exclude each other",
        ),
        (("tls_id: shop-in.shop.example, ", ""), "receivers.shop-in", "`public_keys` is missing"),
        (("endpoints: [127", "psk: {env: P}, endpoints: [127"), "receivers.shop-in.psk", "no meaning"),
        (
            ("tls_id: shop", f"tls_id: '{WEB}' #"),
            "tls.certificate",
            "is also that of receiver shop-in (line 5)",
        ),
        (("caller: web", "callers: {names: {web: {}}}"), "tls", "a single caller"),
        (("web.crt", "web-ca.crt"), "tls.certificate", "that of a CA"),
        (("web.crt", "shop-in.crt"), "tls.private_key", "is not the key of the certificate"),
        (("web.pem", "none.pem"), "tls.private_key", "there is no private key"),
        (("web-ca.crt", "web.crt"), "tls.authorities", "not that of a CA"),
        ((", authorities: web-ca.crt", ""), "tls", "`authorities` is missing"),
        (("role: out", "role: out\nlink: {stream_window_bytes: 1}"), "link.stream_window_bytes", "at least"),
        (("role: out", "role: out\nlink: {window_bytes: 65536}"), "link.window_bytes", "no exchange could"),
        (
            ("role: out", "role: out\nlink: {stream_window_bytes: 99999999}"),
            "link.stream_window_bytes",
            "no exchange could",
        ),
        (("role: out", "role: out\nlink: {streams: 1}"), "link.streams", "unknown key"),
    ],
)
def test_one_mistake_in_the_out_example(shop: Folder, change: tuple[str, str], path: str, words: str) -> None:
    assert change[0] in OUT
    text = OUT.replace(*change, 1)
    if "#" in change[1]:
        text = text.replace("#-in.shop.example", "")
    problems = shop.problems(text)
    assert any(problem.path == path and words in str(problem) for problem in problems), problems


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        (("accept: [link]", "accept: [link, http]"), "listen.accept", "nothing but links"),
        (("accept: [link]", "accept: [http]"), "listen.accept", "write `accept: [link]`"),
        (("accept: [link]", "accept: [lnk]"), "listen.accept[0]", "did you mean link?"),
        (("name: shop-in", "name: shop-in\nprivate_key: {file: x.key}"), "private_key", "no meaning"),
        (("name: shop-in", "name: shop-in\ncallers_dir: more"), "callers_dir", "not a key"),
        (("tls_id: app.shop.example", "public_keys: [ab]"), "callers.app.public_keys[0]", "not a public key"),
        (
            ("tls_id: app.shop.example", f'tls_id: "{WEB}"'),
            "callers.app.tls_id",
            "that of caller web (line 7)",
        ),
        (("tls_id: app", "tls_id: shop-in"), "listen.tls.certificate", "also that of caller app (line 8)"),
        (("{tls_id: app.shop.example}", "{}"), "callers.app", "or `tls_id: …` for links inside TLS"),
    ],
)
def test_one_mistake_in_the_in_example(shop: Folder, change: tuple[str, str], path: str, words: str) -> None:
    assert change[0] in IN
    problems = shop.problems(IN.replace(*change, 1))
    assert any(problem.path == path and words in str(problem) for problem in problems), problems


def test_keys_of_callers_mean_nothing_beside_a_certificate(shop: Folder) -> None:
    (problem,) = shop.problems(IN.replace("tls_id: app.shop.example", f"public_keys: [{shop.key('app')}]"))
    assert (problem.path, problem.line) == ("callers.app.public_keys", 8)


def test_an_identity_is_needed_wherever_a_link_is_taken(folder: Folder) -> None:
    (problem,) = folder.problems("role: in\nlisten: {accept: [link]}\nservices: {cart: {endpoints: [h:1]}}\n")
    assert problem.message == "`private_key` is missing"


def test_ten_mistakes_are_all_reported_at_their_lines(shop: Folder) -> None:
    authority = Authority("shop CA")
    ended = authority.issue(dns_names=["x.example"], ends=NOW - DAY / 2)
    write_files(shop.path, "old", ended, b"none").private_key.chmod(0o644)
    problems = shop.problems("""\
role: in
listen:
  accept: [link, lnk]
  tls: {certificate: old.crt, private_key: old.pem, authorities: old-ca.crt, ca: x}
callers:
  web: {tls_id: "*.example"}
  app: {tls_id: app.example, psk: {env: P}}
  bot: {tls_id: app.example}
  cat: {}
callers_dir: callers
link: {streams: 0, rekey_s: never}
services:
  cart: {endpoints: [127.0.0.1:9000]}
""")
    assert [(problem.line, problem.path) for problem in problems] == [
        (3, "listen.accept[1]"),
        (4, "listen.tls.authorities"),
        (4, "listen.tls.ca"),
        (4, "listen.tls.certificate"),
        (4, "listen.tls.private_key"),
        (6, "callers.web.tls_id"),
        (7, "callers.app.psk"),
        (7, "callers.app.psk"),
        (8, "callers.bot.tls_id"),
        (9, "callers.cat"),
        (10, "callers_dir"),
        (10, "callers_dir"),
        (11, "link.rekey_s"),
        (11, "link.streams"),
    ]
