"""Bodies that have to be here entirely before anything can be done with them.

Wire format v1 seals a body as a whole, so what streams elsewhere is held here: each body within a limit, and
all that are still coming in within another, so that many slow senders together can't fill the memory. Those
that are complete are their exchange's, and there are no more of these than `limits.in_flight`.
"""

from __future__ import annotations

from typing import cast

from fastproxy.errors import BODY_TOO_LARGE, OVERLOADED, RESPONSE_BODY_TOO_LARGE, Cause, ProxyError, beyond
from fastproxy.model import Body, Content

HELD_BODIES = 16
"""So many bodies of the largest size may be on their way at a time, or any number of smaller ones that come
to as much. Their senders needn't be proven yet: this bounds what strangers can make a proxy hold."""

_MESSAGE_BYTES = 1024
_COMPRESSED_SHARE = 64


class HeldBodies:
    """Reads the bodies of one proxy to their end.

    request_limit_bytes, response_limit_bytes: bounds on bodies. held_bytes: of all that are not complete yet.

    Args:
        request_limit_bytes, response_limit_bytes: as above.
        at_a_time: how many of the largest size may be on their way.
    """

    __slots__ = ("_held_limit", "held_bytes", "request_limit_bytes", "response_limit_bytes")

    def __init__(
        self, request_limit_bytes: int, response_limit_bytes: int, at_a_time: int = HELD_BODIES
    ) -> None:
        self.request_limit_bytes = request_limit_bytes
        self.response_limit_bytes = response_limit_bytes
        self.held_bytes = 0
        self._held_limit = at_a_time * max(request_limit_bytes, response_limit_bytes)

    async def hold_request(self, content: Content) -> bytes:
        """Return all of a request's content; trailer fields are dropped.

        Raises:
            ProxyError: BODY_TOO_LARGE; OVERLOADED, too much is held already; what reading raised.
        """
        return await self._whole(content, self.request_limit_bytes, BODY_TOO_LARGE)

    async def hold_response(self, content: Content) -> bytes:
        """Return all of an answer's content, as above; RESPONSE_BODY_TOO_LARGE if it is."""
        return await self._whole(content, self.response_limit_bytes, RESPONSE_BODY_TOO_LARGE)

    async def hold_sealed_request(self, content: Content) -> bytes:
        """Return all of a message that carries a request; as above."""
        return await self._whole(content, _sealed_limit_bytes(self.request_limit_bytes), BODY_TOO_LARGE)

    async def hold_sealed_response(self, content: Content) -> bytes:
        """Return all of a message that carries an answer; as above."""
        limit_bytes = _sealed_limit_bytes(self.response_limit_bytes)
        return await self._whole(content, limit_bytes, RESPONSE_BODY_TOO_LARGE)

    async def _whole(self, content: Content, limit_bytes: int, too_large: Cause) -> bytes:
        if type(content) is bytes:
            if len(content) > limit_bytes:
                raise beyond(too_large, limit_bytes)
            return content
        body = cast(Body, content)
        held = bytearray()  # not a list: a sender of single bytes would fill it with forty times as much
        try:
            if (body.length or 0) > limit_bytes:
                raise beyond(too_large, limit_bytes)
            while piece := await body.read():
                held += piece
                self.held_bytes += len(piece)
                if len(held) > limit_bytes:
                    raise beyond(too_large, limit_bytes)
                if self.held_bytes > self._held_limit:
                    raise ProxyError(
                        OVERLOADED,
                        "too many bodies are held at a time",
                        retry_after_s=1,
                        numbers={"held_limit_bytes": self._held_limit, "held_bytes": self.held_bytes},
                    )
        except BaseException:
            body.close()
            raise
        finally:
            self.held_bytes -= len(held)
        return bytes(held)


def _sealed_limit_bytes(limit_bytes: int) -> int:
    """Return how long the message may be whose body is within the limit.

    Signature, key names and padding take less than 1 KiB; data that doesn't compress grows by 0.1 % at most,
    in snappy blocks and in gzip.
    """
    return limit_bytes + limit_bytes // _COMPRESSED_SHARE + _MESSAGE_BYTES
