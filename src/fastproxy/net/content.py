"""Reading content that only makes sense as a whole, within a bound."""

from __future__ import annotations

from fastproxy.model import Content


async def read_beginning(content: Content, limit_bytes: int) -> bytes:
    """Read all of a content that keeps within a limit, and of a longer one a little more than the limit.

    Awaits what the content's `read` awaits. What isn't read is given up, and with it the connection.

    Raises:
        ProxyError: the content broke off before that.
    """
    if isinstance(content, bytes):
        return content
    pieces: list[bytes] = []
    size_bytes = 0
    try:
        while size_bytes <= limit_bytes and (piece := await content.read()):
            pieces.append(piece)
            size_bytes += len(piece)
    finally:
        content.close()
    return b"".join(pieces)
