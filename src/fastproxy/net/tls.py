"""TLS for links: contexts from certificate files, and who the certificate of a peer stands for.

TLS 1.3 alone, both sides verified against the configured CAs, no session tickets: each link proves anew who
makes it. A name is that of the subject alternative names, matched whole and exactly once; the host that was
connected to proves nothing. What was once verified is asked about again when a CA or a date goes.
Knows nothing of what runs inside.
"""

from __future__ import annotations

import hashlib
import ssl
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple

from cryptography import x509

from fastproxy.config.certificates import (
    CertificateError,
    Credentials,
    contents_digest,
    read_credentials,
    tls_ids,
)
from fastproxy.config.keys import KeyMaterialError
from fastproxy.config.snapshot import TlsFiles
from fastproxy.wire.link.hello import ALPN


class TlsPeerError(Exception):
    """The other end of a TLS connection is no peer for a link; the message says why, for the log."""


class TlsPeer(NamedTuple):
    """The other end of a TLS connection, verified.

    tls_ids: whom its certificate stands for. chain: the certificates that were verified, DER, its own first,
    that of the CA last. not_after_unix_s: when the first of these ends.
    """

    tls_ids: tuple[str, ...]
    chain: tuple[bytes, ...]
    not_after_unix_s: float


class TlsCredentials:
    """The own certificate and the trusted CAs, as contexts for connections; kept up with their files.

    server_context, client_context: for connections that are made from now on.

    Args:
        files: where they are. clock: returns the Unix time in seconds.

    Raises:
        CertificateError: they can't be used.
    """

    __slots__ = ("_clock", "_contents", "_credentials", "_files", "client_context", "server_context")

    def __init__(self, files: TlsFiles, clock: Callable[[], float]) -> None:
        self._files = files
        self._clock = clock
        self._contents = contents_digest(files)
        self._load()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the own certificate, in hex: what changes when it is renewed."""
        return hashlib.sha256(self._credentials.certificate).hexdigest()

    @property
    def not_after_unix_s(self) -> float:
        """When the own certificate ends."""
        return self._credentials.not_after_unix_s

    def reload(self) -> bool:
        """Take the files as they are now, if they changed; a set that can't be used changes nothing.

        Returns:
            Whether there are new contexts.

        Raises:
            CertificateError: they changed, and can't be used; said once per change.
        """
        contents = contents_digest(self._files)
        if contents == self._contents:
            return False
        self._contents = contents
        self._load()
        return True

    def still_trusts(self, peer: TlsPeer) -> bool:
        """Whether a peer that was verified earlier would be by today's CAs and date.

        That its certificates vouch for one another can't change; that one of them is a trusted CA can.
        """
        if self._clock() > peer.not_after_unix_s:
            return False
        return not self._credentials.authorities.isdisjoint(peer.chain[1:])

    def _load(self) -> None:
        credentials = read_credentials(self._files, self._clock())
        try:
            server = _context(ssl.PROTOCOL_TLS_SERVER, self._files, credentials)
            client = _context(ssl.PROTOCOL_TLS_CLIENT, self._files, credentials)
        except (ssl.SSLError, OSError) as exc:
            changed = KeyMaterialError(f"TLS can't take the files, which are being changed: {exc}")
            raise CertificateError({"certificate": changed}) from exc
        server.num_tickets = 0
        self._credentials, self.server_context, self.client_context = credentials, server, client


def peer_of(tls: ssl.SSLObject) -> TlsPeer:
    """Return who is at the other end, once the handshake is done.

    Raises:
        TlsPeerError: it doesn't speak links, or its certificate stands for nobody.
    """
    # OpenSSL goes on when the two ends have no protocol in common.
    if tls.selected_alpn_protocol() != ALPN:
        raise TlsPeerError(f"the peer did not agree to {ALPN}")
    chain = _verified_chain(tls)
    if not chain:
        raise TlsPeerError("the peer showed no certificate that was verified")
    certificates = [_certificate(one) for one in chain]
    ends = min(certificate.not_valid_after_utc for certificate in certificates)
    return TlsPeer(_identity(certificates[0]), chain, ends.timestamp())


def match(peer: TlsPeer, names: Mapping[str, str]) -> str:
    """Return the name of a peer.

    Args:
        peer: whose. names: each known name, by the `tls_id` that proves it.

    Raises:
        TlsPeerError: it is none of these, or more than one.
    """
    found = [names[tls_id] for tls_id in peer.tls_ids if tls_id in names]
    if len(found) != 1:
        known = "nobody that is known" if not found else f"{len(found)} that are known"
        raise TlsPeerError(f"the peer's certificate stands for {known}")
    return found[0]


def _certificate(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(certificate)
    except (ValueError, x509.InvalidVersion) as exc:
        raise TlsPeerError("the peer's certificate can't be read") from exc


def _identity(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        return tls_ids(certificate)
    except ValueError as exc:
        raise TlsPeerError(f"the peer's certificate proves nothing: {exc}") from exc


def _context(protocol: int, files: TlsFiles, credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False  # `match` decides
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    # Each of the CAs is trusted, also one that another one vouches for.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols([ALPN])
    context.load_verify_locations(cadata=b"".join(credentials.authorities))
    # The password is for a key that was encrypted meanwhile: without one, OpenSSL would ask the terminal.
    context.load_cert_chain(files.certificate, files.private_key, password="")
    return context


def _verified_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    if sys.version_info >= (3, 13):
        return tuple(tls.get_verified_chain())
    # Up to 3.12 it is there for the ssl module alone.
    chain = tls._sslobj.get_verified_chain() or ()  # type: ignore[attr-defined]
    return tuple(ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain)
