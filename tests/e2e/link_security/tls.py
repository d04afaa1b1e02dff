"""Parties to links inside TLS: their certificates, their configs, clients and impostors by hand."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from fastproxy.config.snapshot import TlsFiles
from fastproxy.wire.link.hello import ALPN, HelloInitiator
from tests.certificates import Authority, write_files
from tests.e2e.client import Address
from tests.e2e.link_security.hand_made import PARAMS, HandMadeLink, connected
from tests.e2e.link_security.proxies import (
    Parties,
)
from tests.e2e.proxies import Config, ProxyProcess
from tests.e2e.services import ScriptedService

Issued = tuple[EllipticCurvePrivateKey, x509.Certificate]

WEB_URI, IN_URI = "spiffe://shop.example/web", "spiffe://shop.example/in"
GUEST_NAME = "guest.shop.example"
CA = Authority("the CA of both sides")
OTHER_CA = Authority("a CA that nobody trusts")
HANDSHAKES = 8
NO_LINK = (ConnectionError, ssl.SSLError)
"""What a client gets that is refused: the end of the connection, or TLS's own words."""


def tls_section(files: TlsFiles) -> dict[str, str]:
    """Files as configs name them."""
    return {
        "certificate": str(files.certificate),
        "private_key": str(files.private_key),
        "authorities": str(files.authorities),
    }


def in_changes(files: TlsFiles) -> Config:
    """What makes an in proxy one of links inside TLS; `web` is a SPIFFE URI there, `guest` a DNS name."""
    return {
        "private_key": None,
        "listen": {"tls": tls_section(files)},
        "callers": {
            "web": {"public_keys": None, "tls_id": WEB_URI},
            "guest": {"public_keys": None, "tls_id": GUEST_NAME},
        },
        "link": {"handshakes": HANDSHAKES, "handshake_timeout_s": 2},
    }


def out_changes(files: TlsFiles, receiver_id: str = IN_URI) -> Config:
    """What makes an out proxy one of links inside TLS."""
    return {
        "private_key": None,
        "tls": tls_section(files),
        "receivers": {"in": {"public_keys": None, "tls_id": receiver_id}},
    }


def tls_receiver(parties: Parties, service: ScriptedService) -> ProxyProcess:
    """Start an in proxy, which is one SPIFFE URI and one DNS name."""
    folder = parties.folder()
    files = write_files(folder, "tls", CA.issue([IN_URI], ["in.shop.example"]), CA.pem)
    return parties.in_proxy({"api": service.endpoint}, in_changes(files), folder)


class TlsClient:
    """A client's settings for TLS.

    Args:
        folder: for files. issued: its certificate; None for none. version, alpn: what it speaks.
    """

    def __init__(
        self,
        folder: Path,
        issued: Issued | None,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        alpn: Sequence[str] = (ALPN,),
    ) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname, self.context.verify_mode = False, ssl.CERT_NONE
        self.context.maximum_version = version
        if alpn:
            self.context.set_alpn_protocols(list(alpn))
        if issued is not None:
            files = write_files(folder, "client", issued, CA.pem)
            self.context.load_cert_chain(files.certificate, files.private_key)

    def link(self, address: Address, source: str = "") -> HandMadeLink:
        """Make a link."""
        return HandMadeLink(self.context.wrap_socket(connected(address, source)), HelloInitiator(PARAMS))


def of_caller(*uris: str, dns_names: Iterable[str] = (), authority: Authority = CA, **more: Any) -> Issued:
    """A certificate of a caller."""
    return authority.issue(uris, dns_names, **more)


class TlsImpostor:
    """Listens where the receiver should, for one connection.

    Args:
        context: its settings for TLS.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._heard = b""
        self._thread = threading.Thread(target=self._pose, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self._listener.close()

    def heard_in_all(self) -> bytes:
        """Wait until the out proxy has hung up; return what it said inside TLS."""
        self._thread.join(20)
        assert not self._thread.is_alive()
        return self._heard

    def _pose(self) -> None:
        with contextlib.suppress(OSError):
            sock, _ = self._listener.accept()
            sock.settimeout(20)
            with sock, self._context.wrap_socket(sock, server_side=True) as tls:
                while data := tls.recv(65536):
                    self._heard += data


def server_context(
    folder: Path, issued: Issued, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, alpn: str = ALPN
) -> ssl.SSLContext:
    """A server's settings for TLS, which takes any client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    files = write_files(folder, "server", issued, CA.pem)
    context.load_cert_chain(files.certificate, files.private_key)
    context.maximum_version = version
    context.set_alpn_protocols([alpn])
    return context


def replace(files: TlsFiles, issued: Issued | None = None, authorities: bytes | None = None) -> None:
    """Put new files in the place of others."""
    folder = files.certificate.parent
    new = write_files(folder, "new", issued or CA.issue([WEB_URI]), authorities or b"")
    if issued is not None:
        new.certificate.rename(files.certificate)
        new.private_key.rename(files.private_key)
    if authorities is not None:
        new.authorities.rename(files.authorities)
