"""The two sides of wire format v1 for the tests, and messages that are wrong on purpose."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from fastproxy.errors import ProxyError
from fastproxy.wire.compat.keys import EncryptKey, SignKey
from fastproxy.wire.compat.message import RequestSettings, encode_request, encode_request_settings
from fastproxy.wire.compat.sealing import CompatCaller, CompatReceiver

LIMIT_BYTES = 1 << 20
ENCRYPT_SECRET = b"ABCDABCDABCDABCD"
SIGN = SignKey("s1", b"a signing key of some length")
SIGN_NEXT = SignKey("s2", b"the signing key that replaces it")
SIGN_FOREIGN = SignKey("s3", b"the signing key of someone else")
ENCRYPT = EncryptKey("k128", ENCRYPT_SECRET)
ENCRYPT_NEXT = EncryptKey("k192", b"0123456789abcdef01234567")
ENCRYPT_FOREIGN = EncryptKey("k256", b"0123456789abcdef0123456789ABCDEF")

BOTH, SIGNS, ENCRYPTS, PLAIN = "both", "signs", "encrypts", "plain"
CALLERS = (
    CompatCaller(BOTH, (SIGN, SIGN_NEXT), (ENCRYPT, ENCRYPT_NEXT)),
    CompatCaller(SIGNS, (SIGN,), ()),
    CompatCaller(ENCRYPTS, (), (ENCRYPT,)),
    CompatCaller(PLAIN, (), ()),
)


def receiver() -> CompatReceiver:
    return CompatReceiver(CALLERS, [SIGN_FOREIGN], [ENCRYPT_FOREIGN])


def refusal(caller_name: str, message: bytes, limit_bytes: int = LIMIT_BYTES) -> ProxyError | None:
    """Return how the receiver refuses a message, None if it takes it."""
    try:
        receiver().open(caller_name, message, limit_bytes)
    except ProxyError as error:
        return error
    return None


def block_encrypted(padded: bytes) -> bytes:
    """Return the ciphertext of whole blocks under ENCRYPT, whatever their padding."""
    cipher = Cipher(AES(ENCRYPT_SECRET), CBC(ENCRYPT_SECRET[:16])).encryptor()
    return cipher.update(padded) + cipher.finalize()


def message_of(payload: bytes, sign: SignKey | None = None, settings: RequestSettings | None = None) -> bytes:
    """Return a message that carries this payload as it stands, signed if there is a key."""
    settings = settings or RequestSettings(
        sign_enable=sign is not None, sign_key_name=sign.wire_name if sign else b""
    )
    return encode_request(sign.sign(payload) if sign else b"", payload, encode_request_settings(settings))
