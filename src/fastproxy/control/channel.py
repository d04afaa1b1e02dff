"""Messages between a supervisor and one of its workers, over a pair of sockets that nobody else has.

Each message is a MessagePack array behind its length; what it may be is for the topics to bound, since both
sides are this proxy. Either side tells the other what happens, and asks it
questions, of which any number may be open; an answer finds its question by a number. Who waits no more for an
answer drops the question, and the other side stops working on it. When one side is gone, so is the channel:
the other side is told, and all its open questions fail.
One side's program may be replaced by another that goes on with its end of the channel: it comes to rest
between two messages of its own, and what the other side says meanwhile waits in the socket.
Knows nothing of what the messages mean.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
from msgspec import Struct

_LENGTH_BYTES = 4

_LOG = logging.getLogger("fastproxy.control")


class Message(Struct, array_like=True, gc=False):
    """What goes over a channel.

    kind: whether it tells, asks or answers, says why there is no answer, or drops a question. number: of the
    question.
    topic: what it is about. content: encoded as the topic has it; of a failure, its words.
    """

    kind: Literal["tell", "ask", "answer", "failure", "drop"]
    number: int
    topic: str
    content: bytes


class Rest(Struct, frozen=True):
    """Where a side of a channel rests, for another program to go on.

    fd: of its socket. number: of its next question; answers to earlier ones may still come.
    unread: the beginning of a message whose end hasn't come.
    """

    fd: int
    number: int
    unread: bytes


class ChannelError(Exception):
    """A question has no answer: the other side is gone, or says why it can't."""


class GoneError(ChannelError):
    """The other side is gone."""


Hear = Callable[[str, bytes], None]
"""Is told a topic and its content."""
Answer = Callable[[str, bytes], Awaitable[bytes]]
"""Returns the answer to a question about a topic; is cancelled when the question is dropped.

Raises:
    ChannelError: there is none; the other side gets its words.
"""


class Channel(asyncio.Protocol):
    """One side of a channel; the protocol of its socket's transport.

    Args:
        hear: gets what is told. answer: answers what is asked. lost: is called once the other side is gone.
        loop: the event loop.
        rest: where another program has left this side; None for one that begins.
    """

    def __init__(
        self,
        hear: Hear,
        answer: Answer,
        lost: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
        rest: Rest | None = None,
    ) -> None:
        self._hear = hear
        self._answer = answer
        self._lost = lost
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray(b"" if rest is None else rest.unread)
        self._number = 1 if rest is None else rest.number
        self._written: asyncio.Future[None] | None = None
        self._held: list[bytes] | None = None  # what is said while this side rests
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._answering: dict[int, asyncio.Task[None]] = {}
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Message)

    @property
    def is_open(self) -> bool:
        """Whether the other side is there."""
        return self._transport is not None

    def tell(self, topic: str, content: bytes = b"") -> None:
        """Tell the other side something; if it is gone, nobody hears it."""
        self._send(Message("tell", 0, topic, content))

    async def ask(self, topic: str, content: bytes = b"") -> bytes:
        """Ask the other side, and wait for its answer; when the wait is cancelled, it stops working on it.

        Raises:
            GoneError: it is gone. ChannelError: it has no answer.
        """
        if self._transport is None:
            raise GoneError("the process is gone")
        number = self._number
        self._number += 1
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._asked[number] = answer
        try:
            self._send(Message("ask", number, topic, content))
            return await answer
        except asyncio.CancelledError:
            self._send(Message("drop", number, "", b""))
            raise
        finally:
            del self._asked[number]

    async def rest(self) -> Rest:
        """Come to rest: take nothing more, answer what was asked, and wait until all of it has left.

        What is told or asked from then on waits for `go_on`.

        Raises:
            GoneError: the other side is gone.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise GoneError("the process is gone")
        transport.pause_reading()
        while self._answering:
            await asyncio.wait(self._answering.values())
        number, self._held = self._number, []
        transport.set_write_buffer_limits(high=0)  # from now on `pause_writing` is told of anything left
        if self._written is not None:
            await self._written
        if self._transport is None:
            raise GoneError("the process is gone")
        return Rest(transport.get_extra_info("socket").fileno(), number, bytes(self._buffer))

    def go_on(self) -> None:
        """Rest no more: the program wasn't replaced after all."""
        held, self._held = self._held, None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(held or ())
            self._transport.resume_reading()

    def close(self) -> None:
        """Send what is written, then close."""
        if self._transport is not None:
            self._transport.close()

    def pause_writing(self) -> None:
        """More is written than the socket takes now."""
        if self._written is None:
            self._written = self._loop.create_future()

    def resume_writing(self) -> None:
        """The socket has taken it."""
        written, self._written = self._written, None
        if written is not None and not written.done():
            written.set_result(None)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _LENGTH_BYTES:
            end = at + _LENGTH_BYTES + int.from_bytes(buffer[at : at + _LENGTH_BYTES], "big")
            if end > len(buffer):
                break
            message = self._decoder.decode(bytes(buffer[at + _LENGTH_BYTES : end]))
            at = end
            self._take(message)
        del buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side is gone."""
        self._transport = None
        self.resume_writing()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(GoneError("the process is gone"))
        for task in self._answering.values():
            task.cancel()
        self._lost()

    def _take(self, message: Message) -> None:
        if message.kind == "tell":
            self._hear(message.topic, message.content)
        elif message.kind == "ask":
            task = self._answering[message.number] = self._loop.create_task(self._reply(message))
            task.add_done_callback(lambda _: self._answering.pop(message.number))
        elif message.kind == "drop":
            answering = self._answering.get(message.number)
            if answering is not None:  # else its answer is on its way
                answering.cancel()
        else:
            asked = self._asked.get(message.number)
            if asked is None or asked.done():  # whoever asked waits no more
                return
            if message.kind == "answer":
                asked.set_result(message.content)
            else:
                asked.set_exception(ChannelError(message.content.decode()))

    async def _reply(self, question: Message) -> None:
        try:
            content = await self._answer(question.topic, question.content)
        except ChannelError as error:
            self._send(Message("failure", question.number, "", str(error).encode()))
        except Exception:  # a mistake here must not leave the other side waiting
            _LOG.exception("a question can't be answered", extra={"topic": question.topic})
            self._send(Message("failure", question.number, "", b"it has failed; its log says how"))
        else:
            self._send(Message("answer", question.number, "", content))

    def _send(self, message: Message) -> None:
        if self._transport is not None:
            encoded = self._encoder.encode(message)
            framed = len(encoded).to_bytes(_LENGTH_BYTES, "big") + encoded
            if self._held is None:
                self._transport.write(framed)
            else:
                self._held.append(framed)
