"""What both sides say of themselves while a link is made, and what comes of it.

The initiator offers versions and features, the responder chooses; each says how much it takes before it
gives credit. `handshake` and `hello` carry this in two ways.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.frames import MAX_CREDIT_BYTES, MAX_DATA_BYTES
from fastproxy.wire.link.records import AnyOpener, AnySealer

MAX_MESSAGE_BYTES = 512
"""Most bytes of a message of the handshake: what a stranger can make a receiver hold per connection."""
VERSIONS = 0x00000001
"""The versions of the frames that are spoken here: bit n stands for version n + 1."""
FEATURES = 0x00000000
"""The features that are known here; none yet."""
MAGIC_BYTES = 4
OPENING = struct.Struct(">4sHII")
"""What message 1 begins with: magic, the length of what follows the length, versions, features."""
LENGTH = struct.Struct(">H")
_LENGTH_END = MAGIC_BYTES + LENGTH.size
_PARAMS = struct.Struct(">III")
_CHOICE = struct.Struct(">BIIII")
PARAMS_BYTES = _PARAMS.size
CHOICE_BYTES = _CHOICE.size


class Params(NamedTuple):
    """What one side takes from the other.

    stream_window_bytes: content per stream before it gives credit. link_window_bytes: of all streams.
    max_streams: streams that may be open at a time; 0 from an initiator, since responders open none.
    """

    stream_window_bytes: int
    link_window_bytes: int
    max_streams: int


class Established(NamedTuple):
    """A link that has been made.

    sealer, opener: for what is sent and what comes. peer_public_key: whose identity was proven, 32 bytes;
    empty where TLS proves it. version: of the frames. features: those that both sides know.
    params: the peer's.
    """

    sealer: AnySealer
    opener: AnyOpener
    peer_public_key: bytes
    version: int
    features: int
    params: Params


def message_1_bytes(data: bytes | bytearray, magic: bytes, least_bytes: int) -> int:
    """Return the length of the message 1 that `data` begins with, or 0 when not all of it is here.

    Raises:
        LinkError: handshake, as soon as it can't become one.
    """
    if data[:MAGIC_BYTES] != magic[: len(data)]:
        raise LinkError("handshake", "it doesn't begin as a link does")
    if len(data) < _LENGTH_END:
        return 0
    (length,) = LENGTH.unpack_from(data, MAGIC_BYTES)
    return _checked_bytes(data, _LENGTH_END + length, least_bytes)


class AwaitedAnswer:
    """Collects message 2, however it arrives.

    Args:
        least_bytes: a shorter message can't be one.
    """

    __slots__ = ("_least_bytes", "_received")

    def __init__(self, least_bytes: int) -> None:
        self._least_bytes = least_bytes
        self._received = b""

    def take(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Take the next bytes.

        Returns:
            what follows the message's length, and what came behind it; None when not all of it is here.

        Raises:
            LinkError: handshake, as soon as it can't become one.
        """
        received = self._received = self._received + data
        if len(received) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(received)
        end = _checked_bytes(received, LENGTH.size + length, self._least_bytes)
        return (received[LENGTH.size : end], received[end:]) if end else None


def _checked_bytes(data: bytes | bytearray, size_bytes: int, least_bytes: int) -> int:
    if not least_bytes <= size_bytes <= MAX_MESSAGE_BYTES:
        raise LinkError("handshake", "a message of an impossible length")
    return size_bytes if len(data) >= size_bytes else 0


def build_opening(magic: bytes, size_bytes: int) -> bytes:
    """Return the beginning of a message 1 of this size, with what is offered here."""
    return OPENING.pack(magic, size_bytes - _LENGTH_END, VERSIONS, FEATURES)


def build_params(params: Params) -> bytes:
    """Return them as a message 1 holds them.

    Raises:
        ValueError: a window of an impossible size.
    """
    _check_windows(params)
    return _PARAMS.pack(*params)


def parse_params(data: bytes) -> Params:
    """Read the initiator's params. What follows them is for later versions, and is ignored.

    Raises:
        LinkError: handshake.
    """
    if len(data) < PARAMS_BYTES:
        raise LinkError("handshake", "the params are cut")
    return _parsed(Params(*_PARAMS.unpack_from(data)))


def choose(opening: bytes | bytearray) -> tuple[int, int]:
    """Return the version and the features to go on with, of those that a message 1 offers.

    Raises:
        LinkError: version, there is none in common.
    """
    _, _, versions, features = OPENING.unpack_from(opening)
    version = (versions & VERSIONS).bit_length()
    if not version:
        raise LinkError("version", f"the peer offers {versions:#010x}")
    return version, features & FEATURES


def build_choice(version: int, features: int, params: Params) -> bytes:
    """Return what the responder says: its choice and its params.

    Raises:
        ValueError: a window of an impossible size.
    """
    _check_windows(params)
    return _CHOICE.pack(version, features, *params)


def parse_choice(data: bytes) -> tuple[int, int, Params]:
    """Read the version, the features and the responder's params. What follows them is ignored.

    Raises:
        LinkError: handshake; or version, it chose what was not offered.
    """
    if len(data) < CHOICE_BYTES:
        raise LinkError("handshake", "the choice is cut")
    version, features, *limits = _CHOICE.unpack_from(data)
    if not version or not VERSIONS >> (version - 1) & 1 or features & ~FEATURES:
        raise LinkError("version", "the peer chose what was not offered")
    return version, features, _parsed(Params(*limits))


def _parsed(params: Params) -> Params:
    try:
        _check_windows(params)
    except ValueError as exc:
        raise LinkError("handshake", str(exc)) from exc
    return params


def _check_windows(params: Params) -> None:
    windows = params.stream_window_bytes, params.link_window_bytes
    if max(windows) > MAX_CREDIT_BYTES:
        raise ValueError(f"a window is at most {MAX_CREDIT_BYTES} bytes")
    # A message of one frame fits into its stream's first credit: whoever sends one looks at the link's alone.
    if params.stream_window_bytes < MAX_DATA_BYTES:
        raise ValueError(f"a stream's window is at least {MAX_DATA_BYTES} bytes")
