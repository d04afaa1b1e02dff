"""What proves a proxy, and judges its peers, on links inside TLS.

Loaded only where a config has `tls`: reading certificates takes 3 MiB.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Mapping

from fastproxy.config.certificates import CertificateError
from fastproxy.config.snapshot import TlsFiles
from fastproxy.net.link.link import Link
from fastproxy.net.tls import TlsCredentials, TlsPeer, TlsPeerError, match
from fastproxy.wire.link.errors import LinkError

_LOG = logging.getLogger("fastproxy.link")


class Certificates:
    """The certificate of one proxy and the CAs that it trusts, as their files are now.

    have_changed: whether they are others than at the start.

    Args:
        files: where they are.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._credentials = TlsCredentials(files, time.time)
        self.have_changed = False

    def client_context(self) -> ssl.SSLContext:
        """Settings for a connection that is made."""
        return self._credentials.client_context

    def server_context(self) -> ssl.SSLContext:
        """Settings for a connection that is taken."""
        return self._credentials.server_context

    def own_key(self) -> bytes:
        """What stands for the own certificate: its fingerprint."""
        return self._credentials.fingerprint.encode()

    def not_after_unix_s(self) -> float:
        """When the own certificate ends."""
        return self._credentials.not_after_unix_s

    def is_trusted(self, link: Link) -> bool:
        """Whether the certificate at the other end of a link would be accepted today."""
        return not isinstance(link.identity, TlsPeer) or self._credentials.still_trusts(link.identity)

    def reload(self) -> None:
        """Take changed files, if they can be used."""
        try:
            if self._credentials.reload():
                self.have_changed = True
                fingerprint = self._credentials.fingerprint
                _LOG.info("certificates were read again", extra={"fingerprint": fingerprint})
        except CertificateError as error:
            _LOG.warning("the certificates stay as they were", extra={"detail": str(error)})


def identify(peer: TlsPeer, names: Mapping[str, str]) -> str:
    """Return the name of a peer.

    Args:
        names: each known name, by the `tls_id` that proves it.

    Raises:
        LinkError: it is none of these, or more than one.
    """
    try:
        return match(peer, names)
    except TlsPeerError as error:
        raise LinkError("identity", str(error)) from error
