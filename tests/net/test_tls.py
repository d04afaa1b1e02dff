"""TLS for links: real handshakes with throw-away certificates, and what is taken for whom."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.config.certificates import CertificateError, Credentials, read_credentials, tls_ids
from fastproxy.config.snapshot import TlsFiles
from fastproxy.net.tls import TlsCredentials, TlsPeer, TlsPeerError, _certificate, _identity, match, peer_of
from fastproxy.wire.link.hello import ALPN
from tests.certificates import CLIENT, DAY, NOW, SERVER, Authority, write_files

WEB, SHOP = "spiffe://shop.example/web", "shop-in.shop.example"
Issued = tuple[EllipticCurvePrivateKey, x509.Certificate]


class Pair:
    """A caller and a receiver with certificates of one authority, and a folder for more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority("shop CA")
        self.now_unix_s = time.time()
        self.web_files = self.write("web", self.authority.issue([WEB]))
        self.shop_files = self.write("shop", self.authority.issue(dns_names=[SHOP]))
        self.web = self.credentials(self.web_files)
        self.shop = self.credentials(self.shop_files)

    def write(
        self, name: str, issued: Issued, more: bytes = b"", authorities: bytes = b"", password: bytes = b""
    ) -> TlsFiles:
        trusted = authorities or self.authority.pem
        return write_files(self.folder, name, issued, trusted, more=more, password=password)

    def credentials(self, files: TlsFiles) -> TlsCredentials:
        return TlsCredentials(files, lambda: self.now_unix_s)

    def odd_client(self, issued: Issued | None, alpn: str = ALPN) -> ssl.SSLContext:
        """A client that doesn't keep to our rules."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.set_alpn_protocols([alpn])
        context.load_verify_locations(cadata=self.authority.pem.decode())
        if issued is not None:
            files = self.write("odd", issued)
            context.load_cert_chain(files.certificate, files.private_key)
        return context


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def connect(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Shake hands; what either side refuses with is raised."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_side = client.wrap_bio(to_client, to_server, server_hostname="any.example")
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    # Hello there, all of it back, the client's proof: nothing takes more turns.
    for _ in range(3):
        for side in (client_side, server_side):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client_side, server_side


def peers(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[TlsPeer, TlsPeer]:
    """Return whom each side sees: the server, the client."""
    client_side, server_side = connect(client, server)
    return peer_of(client_side), peer_of(server_side)


# --- who is taken -------------------------------------------------------------------------------------------


def test_both_sides_know_each_other(pair: Pair) -> None:
    server, client = peers(pair.web.client_context, pair.shop.server_context)
    assert match(server, {SHOP: "shop-in", "other.example": "other"}) == "shop-in"
    assert match(client, {WEB: "web", "spiffe://shop.example/app": "app"}) == "web"
    assert client.not_after_unix_s == pytest.approx((NOW + DAY).timestamp(), abs=1)


def test_a_link_is_tls_1_3_and_leaves_nothing_to_resume(pair: Pair) -> None:
    client_side, server_side = connect(pair.web.client_context, pair.shop.server_context)
    assert client_side.version() == "TLSv1.3"
    assert client_side.selected_alpn_protocol() == "fastproxy/1"
    assert server_side.write(b"x") == 1
    assert client_side.read(1) == b"x"  # a ticket would have come before it
    assert client_side.session is not None
    assert not client_side.session.has_ticket


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_loops_hand_out_what_tells_the_peer(
    pair: Pair, factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def run() -> tuple[TlsPeer, TlsPeer]:
        seen: asyncio.Future[TlsPeer] = asyncio.get_running_loop().create_future()

        def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.set_result(peer_of(writer.get_extra_info("ssl_object")))
            writer.close()

        server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=pair.shop.server_context)
        host, port = server.sockets[0].getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port, ssl=pair.web.client_context)
        at_client = peer_of(writer.get_extra_info("ssl_object"))
        at_server = await seen
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        return at_client, at_server

    with asyncio.Runner(loop_factory=factory) as runner:
        at_client, at_server = runner.run(run())
    assert (at_client.tls_ids, at_server.tls_ids) == ((SHOP,), (WEB,))


def test_an_intermediate_authority_comes_with_the_certificate(pair: Pair) -> None:
    middle = Authority("middle", pair.authority)
    files = pair.write("app", middle.issue([WEB]), more=middle.pem)
    _, client = peers(pair.credentials(files).client_context, pair.shop.server_context)
    assert client.tls_ids == (WEB,)
    assert client.chain[1:] == tuple(
        one.certificate.public_bytes(Encoding.DER) for one in (middle, pair.authority)
    )


def test_an_intermediate_authority_can_be_trusted_without_its_root(pair: Pair) -> None:
    middle = Authority("middle", pair.authority)
    app = pair.credentials(pair.write("app", middle.issue([WEB]), authorities=middle.pem))
    shop = pair.credentials(pair.write("other", middle.issue(dns_names=[SHOP]), authorities=middle.pem))
    _, client = peers(app.client_context, shop.server_context)
    assert shop.still_trusts(client)


@pytest.mark.parametrize("purposes", [(CLIENT,), (SERVER,), (CLIENT, SERVER), ()])
def test_a_certificate_serves_its_purposes_only(
    pair: Pair, purposes: tuple[x509.ObjectIdentifier, ...]
) -> None:
    app = pair.credentials(pair.write("app", pair.authority.issue(dns_names=["app"], purposes=purposes)))
    for client, server, needed in (
        (app.client_context, pair.shop.server_context, CLIENT),
        (pair.web.client_context, app.server_context, SERVER),
    ):
        if not purposes or needed in purposes:
            peers(client, server)
        else:
            with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
                connect(client, server)


# --- who isn't ----------------------------------------------------------------------------------------------


def test_another_authority_proves_nothing_on_either_side(pair: Pair) -> None:
    other = Authority("shop CA")  # the same name
    stranger = pair.credentials(pair.write("stranger", other.issue([WEB], [SHOP])))
    for client, server in (
        (stranger.client_context, pair.shop.server_context),
        (pair.web.client_context, stranger.server_context),
    ):
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(client, server)


@pytest.mark.parametrize("dates", [{"ends": NOW - DAY / 2}, {"begins": NOW + DAY / 2}])
def test_a_certificate_out_of_date_proves_nothing(pair: Pair, dates: dict[str, object]) -> None:
    late = pair.odd_client(pair.authority.issue([WEB], **dates))  # type: ignore[arg-type]
    with pytest.raises(ssl.SSLCertVerificationError, match=r"expired|not yet valid"):
        connect(late, pair.shop.server_context)


def test_a_certificate_of_an_ended_authority_proves_nothing(pair: Pair) -> None:
    ended = Authority("old CA", ends=NOW - DAY / 2)
    both = pair.authority.pem + ended.pem
    shop = pair.credentials(pair.write("both", pair.authority.issue(dns_names=[SHOP]), authorities=both))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        connect(pair.odd_client(ended.issue([WEB])), shop.server_context)


def test_no_certificate_proves_nothing(pair: Pair) -> None:
    with pytest.raises(ssl.SSLError, match="did not return a certificate"):
        connect(pair.odd_client(None), pair.shop.server_context)


def test_who_was_not_asked_for_a_certificate_is_nobody(pair: Pair) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.set_alpn_protocols([ALPN])
    server.load_cert_chain(pair.shop_files.certificate, pair.shop_files.private_key)
    _, server_side = connect(pair.web.client_context, server)
    with pytest.raises(TlsPeerError, match="no certificate"):
        peer_of(server_side)


def test_older_tls_is_refused(pair: Pair) -> None:
    old = pair.odd_client(pair.authority.issue([WEB]))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match="unsupported protocol"):
        connect(old, pair.shop.server_context)


@pytest.mark.parametrize("alpn", ["h2", "fastproxy/2"])
def test_another_protocol_is_refused_by_either_side(pair: Pair, alpn: str) -> None:
    odd = pair.odd_client(pair.authority.issue([WEB]), alpn)
    for side in connect(odd, pair.shop.server_context):
        with pytest.raises(TlsPeerError, match="fastproxy/1"):
            peer_of(side)


@pytest.mark.parametrize(
    ("uris", "dns_names", "words"),
    [
        ([], [], "no subject alternative name"),  # the common name says nothing
        (["https://web.shop.example/"], [], "neither"),
        ([WEB, "spiffe://shop.example/app"], [], "other URIs beside it"),
        ([WEB, "https://web.shop.example/"], ["web"], "other URIs beside it"),
        (["SPIFFE://shop.example/web", WEB], [], "other URIs beside it"),
    ],
)
def test_a_certificate_without_one_clear_name_proves_nothing(
    pair: Pair, uris: list[str], dns_names: list[str], words: str
) -> None:
    odd = pair.odd_client(pair.authority.issue(uris, dns_names))
    _, server_side = connect(odd, pair.shop.server_context)
    with pytest.raises(TlsPeerError, match=words):
        peer_of(server_side)


def test_an_authority_is_nobody(pair: Pair) -> None:
    odd = pair.odd_client(pair.authority.issue([WEB], is_ca=True))
    _, server_side = connect(odd, pair.shop.server_context)
    with pytest.raises(TlsPeerError, match="that of a CA"):
        peer_of(server_side)


@pytest.mark.parametrize(
    ("borne", "names", "matched"),
    [
        (("web.example",), {"web.example": "web"}, "web"),
        (("other.example", "web.example"), {"web.example": "web"}, "web"),
        (("web.example",), {}, ""),
        (("web.example",), {"example": "web", "*.example": "app", "web.example.org": "x"}, ""),
        (("*.example",), {"web.example": "web"}, ""),
        (("spiffe://shop.example/web/x",), {"spiffe://shop.example/web": "web"}, ""),
        (("web.example", "app.example"), {"web.example": "web", "app.example": "app"}, ""),
    ],
)
def test_a_name_is_matched_whole_and_once(
    borne: tuple[str, ...], names: dict[str, str], matched: str
) -> None:
    peer = TlsPeer(borne, (), 0.0)
    if matched:
        assert match(peer, names) == matched
        return
    with pytest.raises(TlsPeerError, match="stands for"):
        match(peer, names)


def test_dns_names_are_compared_in_lower_case(pair: Pair) -> None:
    _, certificate = pair.authority.issue(dns_names=["Web.Shop.Example", "web.shop.example"])
    assert tls_ids(certificate) == ("web.shop.example",)


DER = Authority("any").issue([WEB], ["web.example"])[1].public_bytes(Encoding.DER)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_certificate_is_somebody_or_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(DER) - 1))
    changed = DER[:at] + data.draw(st.binary(max_size=4)) + DER[at + data.draw(st.integers(0, 8)) :]
    with suppress(TlsPeerError):
        assert _identity(_certificate(changed))


# --- files that change --------------------------------------------------------------------------------------


def test_a_renewed_certificate_is_taken_from_its_files(pair: Pair) -> None:
    before = (pair.web.fingerprint, pair.web.client_context)
    assert not pair.web.reload()
    assert (pair.web.fingerprint, pair.web.client_context) == before
    pair.write("web", pair.authority.issue([WEB], ends=NOW + 5 * DAY))
    assert pair.web.reload()
    assert pair.web.fingerprint != before[0]
    assert pair.web.not_after_unix_s == pytest.approx((NOW + 5 * DAY).timestamp(), abs=1)
    _, client = peers(pair.web.client_context, pair.shop.server_context)
    renewed = x509.load_pem_x509_certificate(pair.web_files.certificate.read_bytes())
    assert client.chain[0] == renewed.public_bytes(Encoding.DER)
    assert not pair.web.reload()


def test_a_bad_set_changes_nothing_and_is_said_once(pair: Pair) -> None:
    before = (pair.web.fingerprint, pair.web.client_context)
    key = pair.web_files.private_key.read_bytes()
    pair.web_files.private_key.write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(CertificateError) as caught:
        pair.web.reload()
    assert caught.value.problems.keys() == {"private_key"}
    assert not pair.web.reload()
    assert (pair.web.fingerprint, pair.web.client_context) == before
    peers(pair.web.client_context, pair.shop.server_context)
    pair.web_files.private_key.unlink()
    with pytest.raises(CertificateError, match="there is no private key"):
        pair.web.reload()
    pair.web_files.private_key.touch(mode=0o600)
    pair.web_files.private_key.write_bytes(key)
    assert pair.web.reload()


def test_a_set_that_changes_while_it_is_taken_is_bad(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pair.web.client_context
    pair.write("web", pair.authority.issue([WEB]))

    def read_just_before(files: TlsFiles, now_unix_s: float) -> Credentials:
        credentials = read_credentials(files, now_unix_s)
        pair.write("web", pair.authority.issue([WEB]), password=b"secret")
        return credentials

    with monkeypatch.context() as patched:
        patched.setattr("fastproxy.net.tls.read_credentials", read_just_before)
        with pytest.raises(CertificateError, match="are being changed"):
            pair.web.reload()
    assert pair.web.client_context is before
    pair.write("web", pair.authority.issue([WEB]))
    assert pair.web.reload()


def test_a_set_is_bad_from_the_start(pair: Pair) -> None:
    pair.web_files.authorities.write_bytes(b"")
    with pytest.raises(CertificateError, match="authorities"):
        pair.credentials(pair.web_files)


def test_a_peer_is_trusted_as_long_as_its_authority(pair: Pair) -> None:
    _, client = peers(pair.web.client_context, pair.shop.server_context)
    assert pair.shop.still_trusts(client)
    second = Authority("second CA")
    pair.shop_files.authorities.write_bytes(pair.authority.pem + second.pem)
    assert pair.shop.reload()
    assert pair.shop.still_trusts(client)
    # The same name with another key: whoever had the old one is out.
    pair.shop_files.authorities.write_bytes(second.pem + Authority("shop CA").pem)
    assert pair.shop.reload()
    assert not pair.shop.still_trusts(client)
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(pair.web.client_context, pair.shop.server_context)


def test_a_peer_is_trusted_until_the_first_of_its_certificates_ends(pair: Pair) -> None:
    middle = Authority("middle", pair.authority, ends=NOW + DAY / 4)
    files = pair.write("app", middle.issue([WEB], ends=NOW + DAY / 2), more=middle.pem)
    _, client = peers(pair.credentials(files).client_context, pair.shop.server_context)
    pair.now_unix_s = (NOW + DAY / 4).timestamp() - 1
    assert pair.shop.still_trusts(client)
    pair.now_unix_s = (NOW + DAY / 4).timestamp() + 1
    assert not pair.shop.still_trusts(client)
