"""The handshake: two messages after which both sides know each other and share keys.

Message 1 is what a stranger can send: it has a bound, and a keyed check that is tested before any curve
arithmetic. Whoever knows the receiver's public key can make that check, so it proves nothing; it keeps
scanners and blind floods cheap. The same arithmetic is done for a caller that isn't known as for one that is.
The offer is bound by the prologue and the choice comes back sealed, so that nobody on the way can talk both
sides into less than they have.
Message 1 can be replayed: until the first record of the initiator has opened, the responder knows only that
this caller once made it, for this receiver.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from hashlib import blake2s

from fastproxy.wire.identity import KEY_BYTES, PrivateKey, key_id
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.noise import (
    MESSAGE_1_BYTES,
    MESSAGE_2_BYTES,
    PSK_BYTES,
    NoiseInitiator,
    NoiseResponder,
)
from fastproxy.wire.link.records import Opener, Sealer
from fastproxy.wire.link.terms import (
    CHOICE_BYTES,
    LENGTH,
    OPENING,
    PARAMS_BYTES,
    AwaitedAnswer,
    Established,
    Params,
    build_choice,
    build_opening,
    build_params,
    choose,
    message_1_bytes,
    parse_choice,
    parse_params,
)

__all__ = ["MAGIC", "NO_PSK", "Established", "Initiator", "Params", "Responder"]

MAGIC = b"\xfbfp\x01"
"""What a link begins with. The first byte begins neither HTTP nor TLS: one port can take all three."""
MAC_BYTES = 16
NO_PSK = bytes(PSK_BYTES)
"""The pre-shared key of pairs that have none."""
_LABEL = b"fastproxy link"
_MAC_LABEL = b"fastproxy link mac1"
_MAX_NAME_BYTES = 255
_LEAST_1_BYTES = OPENING.size + MESSAGE_1_BYTES + PARAMS_BYTES + MAC_BYTES
_LEAST_2_BYTES = LENGTH.size + MESSAGE_2_BYTES + CHOICE_BYTES


class Initiator:
    """The caller's side of one handshake.

    message: message 1, to be sent. own_key: the caller's, 32 bytes.

    Args:
        key: the caller's.
        receiver_name, receiver_public_key: the receiver that must answer; its name has 1 to 255 bytes.
        psk: the pair's pre-shared key of 32 bytes, or `NO_PSK`.
        params: what this side takes.
        ephemeral: random, for this handshake only.

    Raises:
        ValueError: an argument of another size.
        LinkError: handshake, the receiver's key is a point of low order.
    """

    __slots__ = ("_answer", "_noise", "_receiver_public_key", "message", "own_key")

    def __init__(
        self,
        key: PrivateKey,
        receiver_name: str,
        receiver_public_key: bytes,
        psk: bytes,
        params: Params,
        ephemeral: PrivateKey,
    ) -> None:
        if len(psk) != PSK_BYTES or len(receiver_public_key) != KEY_BYTES:
            raise ValueError("a public key and a pre-shared key are 32 bytes")
        opening = build_opening(MAGIC, _LEAST_1_BYTES)
        self._answer = AwaitedAnswer(_LEAST_2_BYTES)
        self.own_key = key.public_key
        self._receiver_public_key = receiver_public_key
        self._noise = NoiseInitiator(
            key, receiver_public_key, psk, prologue(_name_bytes(receiver_name), opening), ephemeral
        )
        message = opening + self._noise.write(build_params(params))
        self.message = message + mac_bytes(mac_key(receiver_public_key), message)

    def finish(self, data: bytes) -> tuple[Established, bytes] | None:
        """Take the next bytes of message 2.

        Returns:
            the link and what came behind the message, or None when not all of it is here.

        Raises:
            LinkError: handshake, it isn't the receiver that answers; version, it chose what wasn't offered.
        """
        answered = self._answer.take(data)
        if answered is None:
            return None
        message, rest = answered
        payload, keys = self._noise.read(message)
        version, features, params = parse_choice(payload)
        sealer, opener = Sealer(keys.from_initiator), Opener(keys.from_responder)
        established = Established(sealer, opener, self._receiver_public_key, version, features, params)
        return established, rest


def unknown_caller(public_key: bytes) -> LinkError:
    """Return what a handshake with a key that isn't any caller's ends in."""
    return LinkError("unknown_caller", f"key id {key_id(public_key).hex()}")


class Responder:
    """The receiver's side of all handshakes.

    Args:
        name: the receiver's, 1 to 255 bytes.
        keys: its private keys; several while it changes them.
        caller_psk: says by a caller's public key what its pre-shared key is: 32 bytes, `NO_PSK` when it has
            none. None means that there is no such caller.
        params: what this side takes.
        refusal: says by the public key of nobody who is known why that is so; the peer never learns it.

    Raises:
        ValueError: a name or a window of an impossible size.
    """

    __slots__ = ("_caller_psk", "_keys", "_name", "_params", "_refusal")

    def __init__(
        self,
        name: str,
        keys: Sequence[PrivateKey],
        caller_psk: Callable[[bytes], bytes | None],
        params: Params,
        refusal: Callable[[bytes], LinkError] = unknown_caller,
    ) -> None:
        build_params(params)
        self._refusal = refusal
        self._name = _name_bytes(name)
        self.replace_keys(keys)
        self._caller_psk = caller_psk
        self._params = params

    def replace_keys(self, keys: Sequence[PrivateKey]) -> None:
        """Shake hands by these private keys from now on."""
        self._keys = [(mac_key(key.public_key), key) for key in keys]

    def message_bytes(self, data: bytes | bytearray) -> int:
        """Return the length of message 1, or 0 when not all of it is here.

        Args:
            data: all that has come so far.

        Raises:
            LinkError: handshake, as soon as it can't become a message 1.
        """
        return message_1_bytes(data, MAGIC, _LEAST_1_BYTES)

    def check(self, message: bytes) -> PrivateKey:
        """Return the key that message 1 is meant for; costs a hash.

        Raises:
            LinkError: mac, its sender doesn't know any public key of this receiver.
        """
        checked, mac = message[:-MAC_BYTES], message[-MAC_BYTES:]
        for keyed, key in self._keys:
            if hmac.compare_digest(mac_bytes(keyed, checked), mac):
                return key
        raise LinkError("mac", "made without this receiver's public key")

    def answer(self, message: bytes, key: PrivateKey, ephemeral: PrivateKey) -> tuple[bytes, Established]:
        """Return message 2 and the link.

        Args:
            message: message 1, whole.
            key: what `check` returned for it.
            ephemeral: random, for this handshake only.

        Raises:
            LinkError: handshake, not made for this key and name, or changed; version, no version in common;
                or what `refusal` returned, a key that isn't any caller's. Nothing is sent then.
        """
        opening = message[: OPENING.size]
        noise = NoiseResponder(key, prologue(self._name, opening))
        params = parse_params(noise.read(message[OPENING.size : -MAC_BYTES]))
        version, features = choose(opening)
        psk = self._caller_psk(noise.peer_public_key)
        # for a caller that isn't known as well, so that the time doesn't tell which ones are
        sealed, keys = noise.write(
            NO_PSK if psk is None else psk, ephemeral, build_choice(version, features, self._params)
        )
        if psk is None:
            raise self._refusal(noise.peer_public_key)
        sealer, opener = Sealer(keys.from_responder), Opener(keys.from_initiator)
        established = Established(sealer, opener, noise.peer_public_key, version, features, params)
        return LENGTH.pack(len(sealed)) + sealed, established


def mac_key(receiver_public_key: bytes) -> bytes:
    """Return the key of the check at the end of message 1, 32 bytes; anyone who knows the receiver has it."""
    return blake2s(_MAC_LABEL + receiver_public_key).digest()


def mac_bytes(key: bytes, data: bytes) -> bytes:
    """Return the check at the end of message 1, over all that stands before it."""
    return blake2s(data, key=key, digest_size=MAC_BYTES).digest()


def _name_bytes(receiver_name: str) -> bytes:
    name = receiver_name.encode()
    if not 1 <= len(name) <= _MAX_NAME_BYTES:
        raise ValueError(f"a receiver's name has between 1 and {_MAX_NAME_BYTES} bytes")
    return name


def prologue(name: bytes, opening: bytes) -> bytes:
    """Return what both sides must have understood alike.

    Each part is counted, so that no two splits give the same bytes.

    Args:
        name: the receiver's, UTF-8. opening: the first bytes of message 1, with what it offers.
    """
    return b"".join(LENGTH.pack(len(part)) + part for part in (_LABEL, name, opening))
