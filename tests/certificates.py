"""Throw-away certificates: an authority that issues what a test asks for."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fastproxy.config.snapshot import TlsFiles

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.UTC)


class Authority:
    """A CA.

    Args:
        name: its own. issuer: the CA that vouches for it; itself when there is none. ends: of its validity.
    """

    def __init__(self, name: str, issuer: Authority | None = None, *, ends: datetime.datetime = NOW + DAY):
        self.key = generate_private_key(SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = issuer or self
        self.certificate = (
            _builder(self.name, signer.name, self.key, NOW - 2 * DAY, ends)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(signer.key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        uris: Iterable[str] = (),
        dns_names: Iterable[str] = (),
        *,
        begins: datetime.datetime = NOW - DAY,
        ends: datetime.datetime = NOW + DAY,
        purposes: Sequence[x509.ObjectIdentifier] = (CLIENT, SERVER),
        is_ca: bool = False,
    ) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
        """Return a key and a certificate for it that bears these names; one without any has no SAN."""
        key = generate_private_key(SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "web.shop.example")])
        builder = _builder(subject, self.name, key, begins, ends).add_extension(
            x509.BasicConstraints(ca=is_ca, path_length=None), critical=True
        )
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(name) for name in dns_names]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        return key, builder.sign(self.key, hashes.SHA256())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    begins: datetime.datetime,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def write_files(
    folder: Path,
    name: str,
    issued: tuple[EllipticCurvePrivateKey, x509.Certificate],
    authorities: bytes,
    *,
    more: bytes = b"",
    password: bytes = b"",
) -> TlsFiles:
    """Write NAME.crt (with `more` behind the certificate), NAME.pem (its key) and NAME-ca.crt."""
    key, certificate = issued
    files = TlsFiles(folder / f"{name}.crt", folder / f"{name}.pem", folder / f"{name}-ca.crt")
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM) + more)
    encryption: KeySerializationEncryption = NoEncryption()
    if password:
        encryption = BestAvailableEncryption(password)
    files.private_key.touch(mode=0o600)
    files.private_key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    files.authorities.write_bytes(authorities)
    return files
