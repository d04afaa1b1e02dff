"""Certificates that a config names: read from their files and judged, so that no bad set is ever used.

What is judged here is the own certificate, its key and the CAs; a peer's certificate is verified by TLS. Who
a certificate stands for is said in its subject alternative names alone, never in its common name (RFC 9525,
section 2).
Knows nothing of connections.
"""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from msgspec import Struct

from fastproxy.config.keys import KeyMaterialError, read_file
from fastproxy.config.snapshot import TlsFiles

FILE_LIMIT_BYTES = 1024 * 1024
"""Protects against a wrong file; all the CAs that browsers trust take a quarter of it."""

_NO_CERTIFICATE = "a file of `-----BEGIN CERTIFICATE-----` blocks is wanted"
_UNREADABLE = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
_RENEW = "renew it; the files are read again when they change"


class CertificateError(Exception):
    """A set of certificate files can't be used.

    Args:
        problems: what is wrong with each of the settings `certificate`, `private_key` and `authorities`.
    """

    def __init__(self, problems: dict[str, KeyMaterialError]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{setting}: {error.message}" for setting, error in problems.items()))


class Credentials(Struct, frozen=True):
    """A set of certificate files that can be used.

    certificate: the own one, DER. tls_ids: whom it stands for. not_after_unix_s: end of its validity.
    authorities: the CAs that peers' certificates must come from, DER.
    """

    certificate: bytes
    tls_ids: tuple[str, ...]
    not_after_unix_s: float
    authorities: frozenset[bytes]


def read_credentials(files: TlsFiles, now_unix_s: float) -> Credentials:
    """Read and judge a set of files.

    Args:
        files: where they are. now_unix_s: the time at which the certificate must be valid.

    Raises:
        CertificateError: it can't be used; holds all problems.
    """
    problems: dict[str, KeyMaterialError] = {}
    own, key, authorities = None, None, []
    try:
        own = _own_certificate(files.certificate, now_unix_s)
    except KeyMaterialError as exc:
        problems["certificate"] = exc
    try:
        key = _private_key(files.private_key)
        if own is not None:
            _check_match(own, key, files)
    except KeyMaterialError as exc:
        problems["private_key"] = exc
    try:
        authorities = _authorities(files.authorities, now_unix_s)
    except KeyMaterialError as exc:
        problems["authorities"] = exc
    if problems or own is None:
        raise CertificateError(problems)
    return Credentials(
        certificate=own.public_bytes(Encoding.DER),
        tls_ids=tls_ids(own),
        not_after_unix_s=own.not_valid_after_utc.timestamp(),
        authorities=frozenset(authority.public_bytes(Encoding.DER) for authority in authorities),
    )


def contents_digest(files: TlsFiles) -> bytes:
    """Return what is the same as long as the files are.

    Of their contents: two writes within one tick of the file system's clock leave the same times.
    """
    digest = hashlib.sha256()
    for file in (files.certificate, files.private_key, files.authorities):
        try:
            content = read_file(file, secret=False, limit_bytes=FILE_LIMIT_BYTES)
        except KeyMaterialError as exc:
            content = exc.message.encode()
        digest.update(hashlib.sha256(content).digest())
    return digest.digest()


def tls_ids(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return whom a certificate stands for: its SPIFFE URI and its DNS names, in lower case.

    Raises:
        ValueError: it stands for nobody, or not clearly; the message says why, for people.
    """
    if _is_ca(certificate):
        raise ValueError("it is that of a CA, which stands for nobody")
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as exc:
        raise ValueError("it bears no subject alternative name") from exc
    except _UNREADABLE as exc:
        raise ValueError("its extensions can't be read") from exc
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    spiffe_ids = [uri for uri in uris if uri.lower().startswith("spiffe:")]
    # More than one would leave it to each reader whom it stands for (X509-SVID, section 2).
    if spiffe_ids and len(uris) > 1:
        raise ValueError("it bears a SPIFFE URI and other URIs beside it")
    found = (*spiffe_ids, *(name.lower() for name in names.get_values_for_type(x509.DNSName)))
    if not found:
        raise ValueError("it bears neither a SPIFFE URI nor a DNS name")
    return tuple(dict.fromkeys(found))


def _own_certificate(file: Path, now_unix_s: float) -> x509.Certificate:
    certificate = _certificates(file)[0]
    _check_dates(certificate, file, now_unix_s)
    try:
        tls_ids(certificate)
    except ValueError as exc:
        raise KeyMaterialError(
            f"the certificate in {file} can't prove who this proxy is: {exc}",
            "one with a single SPIFFE URI, or a DNS name, is wanted",
        ) from exc
    return certificate


def _authorities(file: Path, now_unix_s: float) -> list[x509.Certificate]:
    authorities = _certificates(file)
    for place, authority in enumerate(authorities, 1):
        if not _is_ca(authority):
            raise KeyMaterialError(f"certificate {place} in {file} is not that of a CA", "remove it")
    # One that has ended may stay beside its successor: TLS takes nothing from it.
    newest = max(authorities, key=lambda authority: authority.not_valid_after_utc)
    _check_dates(newest, file, now_unix_s)
    return authorities


def _certificates(file: Path) -> list[x509.Certificate]:
    content = _read(file, "certificate file", secret=False)
    if b"PRIVATE KEY-----" in content:
        _read(file, "file of certificate and key", secret=True)
    try:
        return x509.load_pem_x509_certificates(content)
    except (ValueError, x509.InvalidVersion) as exc:
        raise KeyMaterialError(f"{file} holds no certificate that can be read", _NO_CERTIFICATE) from exc


def _private_key(file: Path) -> PrivateKeyTypes:
    content = _read(file, "private key", secret=True)
    try:
        return load_pem_private_key(content, None)
    except TypeError as exc:
        message = f"the private key in {file} is encrypted, and nobody is there to give its password"
        raise KeyMaterialError(message, "store it unencrypted, with mode 600") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        advice = "a `-----BEGIN PRIVATE KEY-----` block is wanted"
        raise KeyMaterialError(f"{file} holds no private key that can be read", advice) from exc


def _check_match(certificate: x509.Certificate, key: PrivateKeyTypes, files: TlsFiles) -> None:
    shapes = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*shapes) != certificate.public_key().public_bytes(*shapes):
        raise KeyMaterialError(
            f"{files.private_key} is not the key of the certificate in {files.certificate}",
            "both files come from one issue",
        )
    try:
        # What TLS itself doesn't take, an RSA key of 1024 bits for one, is better said here.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.private_key, password="")
    except (ssl.SSLError, OSError) as exc:
        raise KeyMaterialError(f"TLS doesn't take {files.certificate} and its key: {exc}") from exc


def _check_dates(certificate: x509.Certificate, file: Path, now_unix_s: float) -> None:
    now = datetime.fromtimestamp(now_unix_s, UTC)
    if now > certificate.not_valid_after_utc:
        ended = certificate.not_valid_after_utc.isoformat()
        raise KeyMaterialError(f"the certificate in {file} was valid until {ended}", _RENEW)
    if now < certificate.not_valid_before_utc:
        begins = certificate.not_valid_before_utc.isoformat()
        raise KeyMaterialError(f"the certificate in {file} is valid only from {begins}", "look at the clock")


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return False


def _read(file: Path, what: str, *, secret: bool) -> bytes:
    return read_file(
        file, secret=secret, what=what, limit_bytes=FILE_LIMIT_BYTES, if_missing="your CA issues it"
    )
