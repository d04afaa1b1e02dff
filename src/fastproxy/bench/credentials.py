"""Throw-away identities for one run: a CA with a certificate per place, and an X25519 key pair per place.

They are made anew for each run, live in its temporary folder, and are valid for a day.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Place = Literal["out", "in"]
"""Which end of the sealed stretch a proxy stands at: beside the caller, or beside the service."""

PLACES: tuple[Place, Place] = ("in", "out")
"""In the order of their start: an out proxy that finds no in proxy may wait a second to try again."""

VALIDITY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where the identities of both places lie.

    ca: certificate that signed the others, PEM.
    certificates: per place, one PEM file with private key and certificate.
    private_keys: per place, a file of 64 hex digits, mode 0600.
    public_keys: per place, 64 hex digits.
    """

    ca: Path
    certificates: dict[Place, Path]
    private_keys: dict[Place, Path]
    public_keys: dict[Place, str]


def host_name(place: Place) -> str:
    """Return the DNS name that the certificate of a place carries."""
    return f"{place}.bench.invalid"


def issue(folder: Path) -> Credentials:
    """Make the identities of one run.

    Args:
        folder: an existing folder that only this user can read; the files are written there.
    """
    ca_key = generate_private_key(SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench CA")])
    ca_certificate = (
        _builder(ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(ca_certificate.public_bytes(Encoding.PEM))

    certificates: dict[Place, Path] = {}
    private_keys: dict[Place, Path] = {}
    public_keys: dict[Place, str] = {}
    for place in PLACES:
        certificates[place] = folder / f"{place}.pem"
        _write_private(certificates[place], _leaf_pem(place, ca_name, ca_key))
        key = X25519PrivateKey.generate()
        private_keys[place] = folder / f"{place}.key"
        _write_private(private_keys[place], key.private_bytes_raw().hex().encode() + b"\n")
        public_keys[place] = key.public_key().public_bytes_raw().hex()
    return Credentials(ca_file, certificates, private_keys, public_keys)


def _builder(subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # An hour back, so that a clock that is set right during the run doesn't void the certificate.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + VALIDITY)
    )


def _leaf_pem(place: Place, ca_name: x509.Name, ca_key: EllipticCurvePrivateKey) -> bytes:
    key = generate_private_key(SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host_name(place))])
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        _builder(subject, ca_name, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host_name(place))]), critical=False)
        .add_extension(usages, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key_pem + certificate.public_bytes(Encoding.PEM)


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that was never readable to others, not even for a moment."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
