"""Wire format v1: what opens and what is refused, by the receiver's config and not by the message's flags."""

from __future__ import annotations

import contextlib
import gzip
import itertools

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.errors import (
    BODY_TOO_LARGE,
    COMPRESSION_BROKEN,
    ENVELOPE_MALFORMED,
    IDENTITY_UNPROVEN,
    RESPONSE_BODY_TOO_LARGE,
    RESPONSE_BROKEN,
    RESPONSE_UNSEALED,
    Cause,
    ProxyError,
)
from fastproxy.wire.compat.keys import EncryptKey, SignKey
from fastproxy.wire.compat.message import (
    RequestSettings,
    ResponseSettings,
    decode_request,
    decode_response,
    encode_request,
    encode_request_settings,
    encode_response,
    encode_response_settings,
)
from fastproxy.wire.compat.payload import GZIP_ID, SNAPPY_ID, compress
from fastproxy.wire.compat.sealing import CompatCaller, CompatReceiver, CompatSender
from tests.wire.compat_parties import (
    BOTH,
    CALLERS,
    ENCRYPT,
    ENCRYPT_FOREIGN,
    ENCRYPT_NEXT,
    ENCRYPTS,
    LIMIT_BYTES,
    PLAIN,
    SIGN,
    SIGN_FOREIGN,
    SIGN_NEXT,
    SIGNS,
    block_encrypted,
    message_of,
    receiver,
    refusal,
)

BODIES = st.one_of(st.binary(max_size=100), st.binary(min_size=1, max_size=9).map(lambda part: part * 3000))
COMPRESSIONS = [None, SNAPPY_ID, GZIP_ID]
NAMES = [caller.name for caller in CALLERS]


def assert_unproven(caller_name: str, message: bytes) -> None:
    """Refused, in the one way that tells nothing."""
    error = refusal(caller_name, message)
    assert error is not None, "it was taken"
    assert (error.cause, error.detail, error.phase) == (IDENTITY_UNPROVEN, "", IDENTITY_UNPROVEN.phase)


def may(caller_name: str, sign: SignKey | None, encrypt: EncryptKey | None) -> bool:
    """Whether the config lets this caller send so: with an allowed key, or any where none is demanded."""
    caller = next(caller for caller in CALLERS if caller.name == caller_name)
    return (not caller.sign or sign in caller.sign) and (not caller.encrypt or encrypt in caller.encrypt)


# --- what is taken ---


@pytest.mark.parametrize("compression_id", COMPRESSIONS)
@pytest.mark.parametrize("encrypt", [None, ENCRYPT, ENCRYPT_NEXT, ENCRYPT_FOREIGN], ids=str)
@pytest.mark.parametrize("sign", [None, SIGN, SIGN_NEXT, SIGN_FOREIGN], ids=str)
@given(BODIES, BODIES)
@settings(max_examples=8, deadline=None)
def test_the_config_decides_what_is_taken_and_bodies_arrive_both_ways(
    sign: SignKey | None, encrypt: EncryptKey | None, compression_id: int | None, body: bytes, answer: bytes
) -> None:
    sender = CompatSender(sign, encrypt, compression_id)
    message = sender.seal(body)
    for name in NAMES:
        if not may(name, sign, encrypt):
            assert_unproven(name, message)
            continue
        request = receiver().open(name, message, len(body))
        assert request.body == body
        sealed = request.answer.seal(answer)
        assert sender.open_response(sealed, len(answer)) == answer
        says = decode_response(sealed).settings
        assert (says.encrypt_enable, says.compress) == (encrypt is not None, compression_id is not None)


def test_a_caller_may_name_keys_that_it_does_not_use() -> None:
    settings = RequestSettings(sign_key_name=b"anything", encrypt_key_name=b"k")
    message = encode_request(b"", b"body", encode_request_settings(settings))
    request = receiver().open(PLAIN, message, LIMIT_BYTES)
    assert request.body == b"body"
    assert decode_response(request.answer.seal(b"")).settings == ResponseSettings(encrypt_key_name=b"k")


def test_a_response_may_be_compressed_in_either_way_or_not() -> None:
    for compression_id, says in itertools.product(COMPRESSIONS, COMPRESSIONS):
        payload = ENCRYPT.encrypt(b"body")
        if says is not None:
            payload = compress(payload, says, is_ciphertext=True)
        settings = ResponseSettings(says is not None, True, ENCRYPT.wire_name, says or 0)
        message = encode_response(payload, encode_response_settings(settings))
        assert CompatSender(SIGN, ENCRYPT, compression_id).open_response(message, LIMIT_BYTES) == b"body"


# --- flags and names that claim less, or contradict ---


@pytest.mark.parametrize("compression_id", COMPRESSIONS)
def test_a_stripped_flag_is_refused(compression_id: int | None) -> None:
    request = decode_request(CompatSender(SIGN, ENCRYPT, compression_id).seal(b"body"))
    says = request.settings
    unsigned = RequestSettings(
        says.compress, False, says.sign_key_name, True, says.encrypt_key_name, says.compress_algorithm
    )
    for claims in (unsigned, RequestSettings(), RequestSettings(encrypt_enable=True)):
        for payload in (request.payload, b"body", b""):
            message = encode_request(b"", payload, encode_request_settings(claims))
            for name in (BOTH, SIGNS):
                assert_unproven(name, message)


def test_signed_plaintext_from_a_caller_that_must_encrypt_is_refused() -> None:
    assert refusal(SIGNS, message_of(b"body", SIGN)) is None
    assert_unproven(BOTH, message_of(b"body", SIGN))


def test_a_signature_without_its_flag_is_refused_even_where_none_is_demanded() -> None:
    message = encode_request(SIGN.sign(b"body"), b"body", encode_request_settings(RequestSettings()))
    for name in NAMES:
        error = refusal(name, message)
        assert error is not None
        assert error.cause is ENVELOPE_MALFORMED


@pytest.mark.parametrize("name", [BOTH, SIGNS, ENCRYPTS, PLAIN, "nobody", ""])
@pytest.mark.parametrize(
    "sign",
    [
        b"",
        b"0" * 64,
        SIGN.sign(b"body").upper(),
        SIGN.sign(b"body")[:-1],
        SIGN.sign(b"body") + b"0",
        b"\xc3\xa4",
    ],
)
def test_a_wrong_signature_is_refused_from_everyone(name: str, sign: bytes) -> None:
    settings = encode_request_settings(RequestSettings(sign_enable=True, sign_key_name=b"s1"))
    assert_unproven(name, encode_request(sign, b"body", settings))


@pytest.mark.parametrize("name", [*NAMES, "nobody"])
def test_keys_of_unknown_or_no_name_are_refused(name: str) -> None:
    for unknown in (SignKey("s9", b"a signing key of some length"), SignKey("stand-in", bytes(32))):
        assert_unproven(name, message_of(b"body", unknown))
    nameless = encode_request_settings(RequestSettings(sign_enable=True))
    assert_unproven(name, encode_request(SIGN.sign(b"body"), b"body", nameless))
    for key_name in (b"", b"k9", b"s1"):
        says = RequestSettings(
            sign_enable=True, sign_key_name=b"s1", encrypt_enable=True, encrypt_key_name=key_name
        )
        assert_unproven(name, message_of(ENCRYPT.encrypt(b"body"), SIGN, says))


def test_an_unknown_caller_is_refused_like_a_wrong_signature() -> None:
    for sign, encrypt in itertools.product((None, SIGN), (None, ENCRYPT)):
        assert_unproven("nobody", CompatSender(sign, encrypt, SNAPPY_ID).seal(b"body"))


def test_whatever_is_wrong_with_a_signature_costs_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """One signature over the whole payload, be key or caller known or not: time tells no name."""
    signed: list[bytes] = []
    sign = SignKey.sign

    def noted(key: SignKey, payload: bytes) -> bytes:
        signed.append(payload)
        return sign(key, payload)

    payload = bytes(4096)
    messages = {
        key_name: encode_request(
            b"0" * 64,
            payload,
            encode_request_settings(RequestSettings(sign_enable=True, sign_key_name=key_name)),
        )
        for key_name in (SIGN.wire_name, SIGN_FOREIGN.wire_name, b"s9", b"")
    }
    monkeypatch.setattr(SignKey, "sign", noted)
    for name, message in itertools.product([*NAMES, "nobody"], messages.values()):
        signed.clear()
        assert_unproven(name, message)
        assert signed == [payload]


# --- changed messages ---


@given(
    st.sampled_from([(BOTH, ENCRYPT), (SIGNS, ENCRYPT), (SIGNS, None)]),
    st.binary(max_size=60),
    st.sampled_from(COMPRESSIONS),
    st.data(),
)
@settings(max_examples=300, deadline=None)
def test_any_flipped_bit_of_a_signed_message_is_refused(
    signing: tuple[str, EncryptKey | None], body: bytes, compression_id: int | None, choice: st.DataObject
) -> None:
    name, encrypt = signing
    message = bytearray(CompatSender(SIGN, encrypt, compression_id).seal(body))
    assert refusal(name, bytes(message)) is None
    bit = choice.draw(st.integers(0, 8 * len(message) - 1))
    message[bit // 8] ^= 1 << bit % 8
    assert refusal(name, bytes(message)) is not None


def test_a_message_cut_anywhere_is_refused() -> None:
    message = CompatSender(SIGN, ENCRYPT, SNAPPY_ID).seal(b"body")
    for size in range(len(message)):
        assert refusal(BOTH, message[:size]) is not None
        assert refusal(ENCRYPTS, message[:size]) is not None


@given(
    st.sampled_from([*NAMES, "nobody"]),
    st.binary(max_size=80),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 1, 2, 2**31 - 1]),
    st.sampled_from([None, SIGN, SIGN_FOREIGN]),
    st.sampled_from([b"", b"k128", b"k192", b"nothing"]),
)
@settings(max_examples=300, deadline=None)
def test_any_message_opens_or_is_a_row_of_the_error_table(
    name: str,
    payload: bytes,
    is_compressed: bool,
    is_encrypted: bool,
    algorithm: int,
    sign: SignKey | None,
    encrypt_key_name: bytes,
) -> None:
    says = RequestSettings(
        is_compressed,
        sign is not None,
        sign.wire_name if sign else b"",
        is_encrypted,
        encrypt_key_name,
        algorithm,
    )
    error = refusal(name, message_of(payload, sign, says))
    if error is not None:
        assert error.cause in {IDENTITY_UNPROVEN, COMPRESSION_BROKEN, BODY_TOO_LARGE}
    with contextlib.suppress(ProxyError):
        receiver().open(name, payload, LIMIT_BYTES)
    answer = ResponseSettings(is_compressed, is_encrypted, encrypt_key_name, algorithm)
    for sender in (CompatSender(SIGN, ENCRYPT, None), CompatSender(SIGN, None, None)):
        for response in (payload, encode_response(payload, encode_response_settings(answer))):
            with contextlib.suppress(ProxyError):
                sender.open_response(response, LIMIT_BYTES)


# --- padding and compression: no oracle, no bomb ---


@given(
    st.integers(0, 3).flatmap(lambda blocks: st.binary(min_size=16 * blocks, max_size=16 * blocks)), st.data()
)
@settings(max_examples=200, deadline=None)
def test_every_wrong_padding_is_refused_in_the_one_way(head: bytes, choice: st.DataObject) -> None:
    last_byte = choice.draw(st.integers(0, 255))
    padded = head + choice.draw(st.binary(min_size=15, max_size=15)) + bytes((last_byte,))
    is_right = 1 <= last_byte <= 16 and padded[-last_byte:] == bytes((last_byte,)) * last_byte
    for sign, name in ((None, ENCRYPTS), (SIGN, BOTH)):
        for is_compressed in (True, False):
            says = RequestSettings(is_compressed, sign is not None, b"s1", True, b"k128")
            payload = block_encrypted(padded)
            if is_compressed:
                payload = compress(payload, SNAPPY_ID, is_ciphertext=True)
            message = message_of(payload, sign, says)
            if is_right:
                assert refusal(name, message) is None
            else:
                assert_unproven(name, message)


def test_whoever_only_encrypts_sees_one_failure_whatever_is_wrong() -> None:
    ciphertext = ENCRYPT.encrypt(b"body")
    for payload in (b"", ciphertext[:-1], ciphertext[1:], bytes(16), b"x" * 33):
        assert_unproven(
            ENCRYPTS, message_of(payload, None, RequestSettings(False, False, b"", True, b"k128"))
        )
    for algorithm in (SNAPPY_ID, GZIP_ID):
        compressed = compress(ciphertext, algorithm, is_ciphertext=True)
        says = RequestSettings(True, False, b"", True, b"k128", algorithm)
        for payload in (b"", ciphertext, compressed[:-1], compressed[:-4] + bytes(3)):
            assert_unproven(ENCRYPTS, message_of(payload, None, says))


def test_nothing_is_decompressed_or_decrypted_before_the_signature_is_proven() -> None:
    for payload in (
        b"no snappy block",
        ENCRYPT.encrypt(b"body"),
        cramjam.snappy.compress_raw(bytes(10 << 20)),
    ):
        says = RequestSettings(True, True, b"s1", True, b"k128")
        message = encode_request(b"0" * 64, bytes(payload), encode_request_settings(says))
        assert_unproven(BOTH, message)


@pytest.mark.parametrize(
    ("algorithm", "payload", "cause"),
    [
        (GZIP_ID, gzip.compress(bytes(10 << 20)), BODY_TOO_LARGE),
        (SNAPPY_ID, bytes(cramjam.snappy.compress_raw(bytes(10 << 20))), BODY_TOO_LARGE),
        (SNAPPY_ID, b"\xff\xff\xff\x7f" + b"\x00x" * 9, BODY_TOO_LARGE),
        (SNAPPY_ID, b"\xff\xff\x3f" + b"\x00x" * 9, COMPRESSION_BROKEN),
        (SNAPPY_ID, b"no snappy block", COMPRESSION_BROKEN),
        (GZIP_ID, b"no gzip member", COMPRESSION_BROKEN),
    ],
)
def test_a_bomb_or_broken_compression_is_refused(algorithm: int, payload: bytes, cause: Cause) -> None:
    for sign, name in ((SIGN, SIGNS), (None, PLAIN)):
        says = RequestSettings(True, sign is not None, b"s1", compress_algorithm=algorithm)
        error = refusal(name, message_of(payload, sign, says))
        assert error is not None
        assert error.cause is cause
    expected = RESPONSE_BODY_TOO_LARGE if cause is BODY_TOO_LARGE else RESPONSE_BROKEN
    answer = encode_response(payload, encode_response_settings(ResponseSettings(True, False, b"", algorithm)))
    with pytest.raises(ProxyError) as refused:
        CompatSender(SIGN, None, None).open_response(answer, LIMIT_BYTES)
    assert refused.value.cause is expected


@pytest.mark.parametrize("name", [*NAMES, "nobody"])
@pytest.mark.parametrize("is_compressed", [True, False])
def test_an_unknown_compression_is_refused_from_everyone_alike(name: str, is_compressed: bool) -> None:
    for algorithm in (2, 2**31 - 1):
        says = RequestSettings(is_compressed, compress_algorithm=algorithm)
        error = refusal(name, message_of(b"body", None, says))
        assert error is not None
        assert (error.cause, error.detail) == (COMPRESSION_BROKEN, "unknown compression id")


@pytest.mark.parametrize("compression_id", COMPRESSIONS)
@pytest.mark.parametrize("encrypt", [None, ENCRYPT], ids=str)
@pytest.mark.parametrize("size", [1, 15, 16, 17, 31, 32, 1000])
def test_a_body_is_taken_up_to_the_limit(
    size: int, encrypt: EncryptKey | None, compression_id: int | None
) -> None:
    sender = CompatSender(SIGN, encrypt, compression_id)
    message = sender.seal(bytes(size))
    request = receiver().open(SIGNS, message, size)
    error = refusal(SIGNS, message, size - 1)
    assert error is not None
    assert error.cause is BODY_TOO_LARGE
    with pytest.raises(ProxyError) as refused:
        sender.open_response(request.answer.seal(bytes(size)), size - 1)
    assert refused.value.cause is RESPONSE_BODY_TOO_LARGE


# --- responses that are not what was asked for ---


def test_a_response_that_is_not_encrypted_as_the_request_was_is_discarded() -> None:
    plain = encode_response(b"body", encode_response_settings(ResponseSettings()))
    encrypted = encode_response(
        ENCRYPT.encrypt(b"body"), encode_response_settings(ResponseSettings(False, True, b"k128"))
    )
    for sender, message in (
        (CompatSender(SIGN, ENCRYPT, None), plain),
        (CompatSender(SIGN, ENCRYPT, None), b""),
        (CompatSender(SIGN, None, None), encrypted),
    ):
        with pytest.raises(ProxyError) as refused:
            sender.open_response(message, LIMIT_BYTES)
        assert refused.value.cause is RESPONSE_UNSEALED
    assert CompatSender(SIGN, None, None).open_response(plain, LIMIT_BYTES) == b"body"
    assert CompatSender(SIGN, ENCRYPT, None).open_response(encrypted, LIMIT_BYTES) == b"body"


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        pytest.param(ENCRYPT_NEXT.encrypt(b"b"), ResponseSettings(False, True, b"k192"), id="another key"),
        pytest.param(ENCRYPT.encrypt(b"b"), ResponseSettings(False, True, b""), id="no key name"),
        pytest.param(
            ENCRYPT.encrypt(b"b"), ResponseSettings(False, True, b"k128", 2), id="unknown compression"
        ),
        pytest.param(bytes(16), ResponseSettings(False, True, b"k128"), id="wrong padding"),
        pytest.param(b"", ResponseSettings(False, True, b"k128"), id="nothing"),
        pytest.param(ENCRYPT.encrypt(b"b"), ResponseSettings(True, True, b"k128"), id="not compressed"),
    ],
)
def test_a_response_that_does_not_open_is_broken(payload: bytes, says: ResponseSettings) -> None:
    message = encode_response(payload, encode_response_settings(says))
    with pytest.raises(ProxyError) as refused:
        CompatSender(SIGN, ENCRYPT, None).open_response(message, LIMIT_BYTES)
    assert refused.value.cause is RESPONSE_BROKEN


# --- mistakes in the config ---


def test_names_are_unique() -> None:
    with pytest.raises(ValueError, match="two callers"):
        CompatReceiver([CompatCaller("c", (), ()), CompatCaller("c", (SIGN,), ())])
    with pytest.raises(ValueError, match="two keys are named s1"):
        CompatReceiver([CompatCaller("c", (SIGN,), ())], [SignKey("s1", b"another")])
    namesakes = (ENCRYPT, EncryptKey("k128", b"another key here"))
    with pytest.raises(ValueError, match="two keys are named k128"):
        CompatReceiver([CompatCaller("c", (), namesakes)])


@pytest.mark.parametrize("compression_id", [-1, 2])
def test_a_sender_knows_its_compression(compression_id: int) -> None:
    with pytest.raises(ValueError, match="no compression"):
        CompatSender(None, None, compression_id)
