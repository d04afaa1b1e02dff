"""Certificate files: what a set of them says, and which sets are refused, with words that help."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import structs

from fastproxy.config.certificates import CertificateError, contents_digest, read_credentials
from fastproxy.config.snapshot import TlsFiles
from tests.certificates import DAY, NOW, Authority, write_files

WEB = "spiffe://shop.example/web"
AUTHORITY = Authority("shop CA")
NOW_S = NOW.timestamp()


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return write_files(tmp_path, "web", AUTHORITY.issue([WEB], ["Web.example"]), AUTHORITY.pem)


def problems(files: TlsFiles, now_unix_s: float = NOW_S) -> dict[str, str]:
    with pytest.raises(CertificateError) as caught:
        read_credentials(files, now_unix_s)
    return {setting: error.message for setting, error in caught.value.problems.items()}


def test_what_a_set_says(files: TlsFiles) -> None:
    credentials = read_credentials(files, NOW_S)
    own = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    assert credentials.certificate == own.public_bytes(Encoding.DER)
    assert credentials.tls_ids == (WEB, "web.example")
    assert credentials.not_after_unix_s == pytest.approx((NOW + DAY).timestamp(), abs=1)
    assert credentials.authorities == {AUTHORITY.certificate.public_bytes(Encoding.DER)}


def test_a_chain_begins_with_the_own_certificate(tmp_path: Path) -> None:
    middle = Authority("middle", AUTHORITY)
    files = write_files(tmp_path, "web", middle.issue([WEB]), AUTHORITY.pem, more=middle.pem)
    assert read_credentials(files, NOW_S).tls_ids == (WEB,)


def test_an_authority_that_has_ended_may_stand_beside_its_successor(files: TlsFiles) -> None:
    ended = Authority("old CA", ends=NOW - DAY)
    files.authorities.write_bytes(ended.pem + AUTHORITY.pem)
    assert len(read_credentials(files, NOW_S).authorities) == 2
    files.authorities.write_bytes(ended.pem)
    assert "was valid until" in problems(files)["authorities"]


def test_all_files_are_judged_at_once(tmp_path: Path) -> None:
    nowhere = TlsFiles(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert problems(nowhere) == {
        "certificate": f"there is no certificate file {tmp_path / 'a'}",
        "private_key": f"there is no private key {tmp_path / 'b'}",
        "authorities": f"there is no certificate file {tmp_path / 'c'}",
    }


@pytest.mark.parametrize(
    ("at", "words"), [(NOW + 2 * DAY, "was valid until"), (NOW - 1.5 * DAY, "is valid only from")]
)
def test_a_certificate_has_its_time(files: TlsFiles, at: object, words: str) -> None:
    found = problems(files, at.timestamp())  # type: ignore[attr-defined]
    assert words in found["certificate"]


def overwrite(setting: str, content: bytes) -> Callable[[TlsFiles], None]:
    def change(files: TlsFiles) -> None:
        getattr(files, setting).write_bytes(content)

    return change


def rsa_of_1024_bits(files: TlsFiles) -> None:
    key = generate_private_key(65537, 1024)
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("web")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    shape = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files.private_key.write_bytes(key.private_bytes(*shape))


def fifo(files: TlsFiles) -> None:
    files.private_key.unlink()
    os.mkfifo(files.private_key, 0o600)


@pytest.mark.parametrize(
    ("change", "setting", "words"),
    [
        (overwrite("certificate", b"no"), "certificate", "no certificate that can be read"),
        (
            overwrite("certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "certificate",
            "no certificate that can be read",
        ),
        (overwrite("certificate", AUTHORITY.pem), "certificate", "can't prove who this proxy is"),
        (overwrite("authorities", b""), "authorities", "no certificate that can be read"),
        (overwrite("authorities", b"x" * (1 << 20) + b"x"), "authorities", "too large"),
        (overwrite("private_key", b"no"), "private_key", "no private key that can be read"),
        (lambda files: files.private_key.chmod(0o640), "private_key", "can be read by others"),
        (rsa_of_1024_bits, "private_key", "TLS doesn't take"),
        (fifo, "private_key", "not a regular file"),
    ],
)
def test_a_bad_file_is_named(
    files: TlsFiles, change: Callable[[TlsFiles], None], setting: str, words: str
) -> None:
    change(files)
    found = problems(files)
    assert found.keys() == {setting}
    assert words in found[setting]


@pytest.mark.parametrize(
    ("uris", "dns_names", "words"),
    [
        ([], [], "no subject alternative name"),
        ([WEB, "spiffe://shop.example/app"], [], "other URIs beside it"),
        (["https://shop.example"], [], "neither a SPIFFE URI nor a DNS name"),
    ],
)
def test_the_own_certificate_must_prove_a_name(
    tmp_path: Path, uris: list[str], dns_names: list[str], words: str
) -> None:
    found = problems(write_files(tmp_path, "web", AUTHORITY.issue(uris, dns_names), AUTHORITY.pem))
    assert words in found["certificate"]


def test_a_key_belongs_to_its_certificate(files: TlsFiles, tmp_path: Path) -> None:
    other = write_files(tmp_path, "other", AUTHORITY.issue([WEB]), AUTHORITY.pem)
    found = problems(structs.replace(files, private_key=other.private_key))
    assert "is not the key of the certificate" in found["private_key"]


def test_nobody_is_asked_for_the_password_of_a_key(tmp_path: Path) -> None:
    files = write_files(tmp_path, "web", AUTHORITY.issue([WEB]), AUTHORITY.pem, password=b"secret")
    assert "is encrypted" in problems(files)["private_key"]


def test_a_file_of_certificate_and_key_is_as_secret_as_the_key(files: TlsFiles) -> None:
    files.certificate.write_bytes(files.certificate.read_bytes() + files.private_key.read_bytes())
    files.certificate.chmod(0o644)
    both = structs.replace(files, private_key=files.certificate)
    assert problems(both).keys() == {"certificate", "private_key"}
    files.certificate.chmod(0o600)
    assert read_credentials(both, NOW_S).tls_ids == (WEB, "web.example")


def test_no_key_is_shown(files: TlsFiles) -> None:
    files.private_key.write_bytes(files.private_key.read_bytes().replace(b"BEGIN", b"GIN"))
    secret = files.private_key.read_bytes().splitlines()[1].decode()
    with pytest.raises(CertificateError) as caught:
        read_credentials(files, NOW_S)
    assert secret not in repr(caught.value) + str(caught.value.problems)


def test_the_digest_tells_contents_apart_whatever_their_times(files: TlsFiles) -> None:
    """A renewed certificate can have the length of the old one, and come within a tick of the clock."""
    before = contents_digest(files)
    assert contents_digest(files) == before
    for file in (files.certificate, files.private_key, files.authorities):
        content, status = file.read_bytes(), file.stat()
        file.write_bytes(content[:-2] + b"!\n")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert contents_digest(files) != before
        file.unlink()
        assert contents_digest(files) != before
        file.touch(mode=0o600)
        file.write_bytes(content)
        os.utime(file, (time.time() + 5, time.time() + 5))
        assert contents_digest(files) == before
