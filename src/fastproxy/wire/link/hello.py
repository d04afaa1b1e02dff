"""The two messages that make a link inside TLS: the offer and the choice, nothing else.

TLS 1.3 has proven both sides by their certificates and protects what is said here, so that there is no key
to agree upon and records aren't sealed again.
"""

from __future__ import annotations

from fastproxy.wire.link.records import PlainOpener, PlainSealer
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

MAGIC = b"\xfbfp\x02"
ALPN = "fastproxy/1"
"""The application protocol that TLS must have settled on before a byte of this is said (RFC 7301)."""
_LEAST_1_BYTES = OPENING.size + PARAMS_BYTES
_LEAST_2_BYTES = LENGTH.size + CHOICE_BYTES


class HelloInitiator:
    """The caller's side.

    message: message 1, to be sent. own_key: stands for the certificate that has proven the caller.

    Args:
        params: what this side takes. own_key: as above.

    Raises:
        ValueError: a window of an impossible size.
    """

    __slots__ = ("_answer", "message", "own_key")

    def __init__(self, params: Params, own_key: bytes = b"") -> None:
        self.own_key = own_key
        self._answer = AwaitedAnswer(_LEAST_2_BYTES)
        self.message = build_opening(MAGIC, _LEAST_1_BYTES) + build_params(params)

    def finish(self, data: bytes) -> tuple[Established, bytes] | None:
        """Take the next bytes of message 2.

        Returns:
            the link and what came behind the message, or None when not all of it is here.

        Raises:
            LinkError: handshake, it isn't one; or version, the responder chose what wasn't offered.
        """
        answered = self._answer.take(data)
        if answered is None:
            return None
        message, rest = answered
        version, features, params = parse_choice(message)
        established = Established(PlainSealer(), PlainOpener(), b"", version, features, params)
        return established, rest


class HelloResponder:
    """The receiver's side, of all links.

    Args:
        params: what this side takes.

    Raises:
        ValueError: a window of an impossible size.
    """

    __slots__ = ("_params",)

    def __init__(self, params: Params) -> None:
        build_params(params)
        self._params = params

    def message_bytes(self, data: bytes | bytearray) -> int:
        """Return the length of message 1, or 0 when not all of it is here.

        Args:
            data: all that has come so far.

        Raises:
            LinkError: handshake, as soon as it can't become a message 1.
        """
        return message_1_bytes(data, MAGIC, _LEAST_1_BYTES)

    def answer(self, message: bytes) -> tuple[bytes, Established]:
        """Return message 2 and the link.

        Args:
            message: message 1, whole.

        Raises:
            LinkError: handshake, it isn't one; or version, no version in common.
        """
        params = parse_params(message[OPENING.size :])
        version, features = choose(message)
        choice = build_choice(version, features, self._params)
        established = Established(PlainSealer(), PlainOpener(), b"", version, features, params)
        return LENGTH.pack(len(choice)) + choice, established
