"""What an out proxy has with a receiver over HTTP: sessions under its keys, and what its endpoints have told.

A session is of this process, for one caller and one of the receiver's keys, and is renewed every ten minutes.
Which of several keys an endpoint has, and its epoch, it tells in a challenge.
Knows nothing of connections or of what is sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from math import inf
from typing import NamedTuple

from fastproxy.errors import RECEIVER_KEY_ENDED, ProxyError
from fastproxy.model import Endpoint
from fastproxy.net.drive import Waiter
from fastproxy.wire.ciphers import Cipher
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.sender import SenderSession

SESSION_S = 600.0
"""Age at which a session's ephemeral key is replaced, in seconds."""
_TOLD = 1024


class ReceiverIdentity(NamedTuple):
    """The receiver as the config pins it.

    public_keys: returns those that count now, 32 bytes each, the preferred one first; none when all have
    passed their date. psk: of the pair, if it has one.
    """

    name: str
    public_keys: Callable[[], Sequence[bytes]]
    psk: bytes | None


class Told(NamedTuple):
    """What an endpoint has told in a challenge.

    public_key: the one that it was asked by, and so has. until_s: when it is to be asked again.
    """

    public_key: bytes
    epoch: bytes
    until_s: float


class ReceiverSessions:
    """Sessions with one receiver.

    told: by endpoint. asking: by caller and endpoint, who waits for what a question under way will tell.

    Args:
        key_of: returns the private key of a caller, of those that may occur. receiver: whom requests are
            sealed for. cipher: how. random: n random bytes.
    """

    __slots__ = ("_cipher", "_key_of", "_random", "_sessions", "asking", "receiver", "told")

    def __init__(
        self,
        key_of: Callable[[str], PrivateKey],
        receiver: ReceiverIdentity,
        cipher: Cipher,
        random: Callable[[int], bytes],
    ) -> None:
        self._key_of = key_of
        self.receiver = receiver
        self._cipher = cipher
        self._random = random
        self._sessions: dict[tuple[str, bytes], SenderSession] = {}
        self.told: dict[Endpoint, Told] = {}
        self.asking: dict[tuple[str, Endpoint], list[Waiter[None]]] = {}

    def find(self, caller: str, public_key: bytes) -> SenderSession | None:
        """Return the session under this key of the receiver, if there is one."""
        return self._sessions.get((caller, public_key))

    def take(self, caller: str, public_key: bytes, now_s: float) -> SenderSession:
        """Return the session under this key of the receiver, made anew if need be.

        Raises:
            ProxyError: the key has passed its date since it was chosen, while a connection was waited for.
        """
        session = self._sessions.get((caller, public_key))
        if session is None or now_s >= session.good_until_s:
            if public_key not in self.receiver.public_keys():
                raise ProxyError(RECEIVER_KEY_ENDED, f"a key of {self.receiver.name}")
            session = self._sessions[caller, public_key] = SenderSession(
                self._key_of(caller),
                self.receiver.name,
                public_key,
                self._random(32),
                cipher=self._cipher,
                psk=self.receiver.psk,
                good_until_s=now_s + SESSION_S,
            )
        return session

    def keep(self, endpoint: Endpoint, public_key: bytes, epoch: bytes, now_s: float) -> Told:
        """Note what an endpoint has told, asked by this key."""
        if len(self.told) >= _TOLD:
            self.told.clear()
        public_keys = self.receiver.public_keys()
        # Asked again every so often while there are several, so that the preferred one is taken up.
        told = Told(public_key, epoch, now_s + SESSION_S if len(public_keys) > 1 else inf)
        if public_key in public_keys:  # it may have ended since
            self.told[endpoint] = told
        return told

    def doubt(self, caller: str, endpoint: Endpoint) -> None:
        """An endpoint knows no such session: it may have lost the key, and is asked by all of them next."""
        if len(self.receiver.public_keys()) > 1 and (told := self.told.pop(endpoint, None)) is not None:
            self._end(caller, told.public_key)

    def forget_ended(self) -> None:
        """Keys of the receiver have passed their date: nothing is sealed for them any more."""
        public_keys = self.receiver.public_keys()
        for caller, public_key in list(self._sessions):
            if public_key not in public_keys:
                self._end(caller, public_key)
        ended = [endpoint for endpoint, told in self.told.items() if told.public_key not in public_keys]
        for endpoint in ended:
            del self.told[endpoint]

    def begin_anew(self, callers: Container[str]) -> None:
        """These callers have other keys: their sessions end, and what comes next is sealed under new ones."""
        for caller, public_key in list(self._sessions):
            if caller in callers:
                self._end(caller, public_key)

    def _end(self, caller: str, public_key: bytes) -> None:
        """End a session, whoever has it."""
        session = self._sessions.pop((caller, public_key), None)
        if session is not None:
            session.good_until_s = -inf
