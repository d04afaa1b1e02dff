"""The eavesdropper: a TCP relay between the proxies that records, changes a bit, and plays back.

It stands where a switch, a router or a stranger on the same network stands: it has every byte, and no key.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections import deque
from collections.abc import Sequence
from http.client import HTTPResponse
from typing import NamedTuple

PIECE_BYTES = 1 << 16
REMEMBERED = 256
PLAYBACK_LIMIT_S = 5.0


class Seen(NamedTuple):
    """What passed in one piece.

    connection: which one, counted from 1. inward: from the out proxy to the in proxy.
    """

    connection: int
    inward: bool
    data: bytes


class Eavesdropper:
    """A relay on a port that the system picks; use it as a context manager.

    seen: the latest pieces that passed, oldest first, as they came. port: where it listens.

    Args:
        in_proxy_port: where it passes everything on to, on loopback.
    """

    def __init__(self, in_proxy_port: int) -> None:
        self.seen: deque[Seen] = deque(maxlen=REMEMBERED)
        self._target = ("127.0.0.1", in_proxy_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._tampers = {inward: threading.Event() for inward in (True, False)}
        self._thread = threading.Thread(target=self._accept, name="eavesdropper")

    def __enter__(self) -> Eavesdropper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
        self._thread.join()
        self._listener.close()

    def tamper_with_next(self, *, inward: bool) -> None:
        """Flip a bit at the end of the next piece in this direction; records and messages end sealed."""
        self._tampers[inward].set()

    def play_back_request(self, recorded: bytes) -> tuple[int, bytes]:
        """Send a recorded HTTP request to the in proxy once more, on a connection of its own.

        Returns:
            Status and content of the answer.

        Raises:
            OSError: there was none in time.
        """
        with socket.create_connection(self._target, PLAYBACK_LIMIT_S) as connection:
            connection.sendall(recorded)
            with HTTPResponse(connection, method="POST") as answer:
                answer.begin()
                return answer.status, answer.read()

    def play_back_connection(self, recorded: Sequence[bytes]) -> bytes:
        """Send all that one side said on a connection to the in proxy once more.

        As then, what follows the first piece waits until that has been answered.

        Returns:
            What the in proxy said until it closed the connection.

        Raises:
            OSError: it did not close it in time.
        """
        with socket.create_connection(self._target, PLAYBACK_LIMIT_S) as connection:
            connection.sendall(recorded[0])
            said = connection.recv(PIECE_BYTES)
            with contextlib.suppress(ConnectionError):  # cut before all was sent, or read
                for data in recorded[1:]:
                    connection.sendall(data)
                while more := connection.recv(PIECE_BYTES):
                    said += more
            return said

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:  # shut down
                return
            try:
                receiver = socket.create_connection(self._target)
            except OSError:  # the in proxy is gone, so this connection ends as well
                caller.close()
                continue
            number += 1
            threading.Thread(target=self._relay, args=(number, caller, receiver), daemon=True).start()

    def _relay(self, number: int, caller: socket.socket, receiver: socket.socket) -> None:
        for side in (caller, receiver):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what passes isn't held up
        with caller, receiver, selectors.DefaultSelector() as ready:
            ready.register(caller, selectors.EVENT_READ, (caller, receiver, True))
            ready.register(receiver, selectors.EVENT_READ, (receiver, caller, False))
            while ready.get_map():
                for key, _ in ready.select():
                    self._pass_on(ready, number, *key.data)

    def _pass_on(
        self,
        ready: selectors.BaseSelector,
        number: int,
        source: socket.socket,
        sink: socket.socket,
        inward: bool,
    ) -> None:
        """Pass one piece on, or the end of what this source sends; the other direction has its own end."""
        try:
            data = source.recv(PIECE_BYTES)
        except OSError:  # reset
            data = b""
        # A sink may be gone; what it still sent is passed on all the same.
        with contextlib.suppress(OSError):
            if data:
                self.seen.append(Seen(number, inward, data))
                sink.sendall(self._changed(data, inward))
            else:
                ready.unregister(source)
                sink.shutdown(socket.SHUT_WR)

    def _changed(self, data: bytes, inward: bool) -> bytes:
        tamper = self._tampers[inward]
        if not tamper.is_set():
            return data
        tamper.clear()
        return data[:-1] + bytes((data[-1] ^ 1,))


def hex_lines(data: bytes, rows: int) -> list[str]:
    """Return the first rows of 16 bytes each as hexadecimal digits and, beside them, as characters."""
    lines = []
    for at in range(0, min(len(data), rows * 16), 16):
        row = data[at : at + 16]
        characters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{row.hex(' '):<47}  {characters}")
    return lines
