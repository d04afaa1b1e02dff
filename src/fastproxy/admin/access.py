"""Who may see what reveals more than health and metrics, and who may change anything.

By a Unix socket, which is made with mode 0600: the proxy's own user, all of it. By TCP: whoever has the
token, all of it; whoever has the reader's, what only tells; and where the config opens that, or profiles,
to the machine, every program on it. In all cases the request must not be a web page's
doing: the Host header says an IP address, `localhost` or the listener's own name (a page whose name was made
to lead here, by DNS rebinding, says another), and what browsers tell of the page that asks, says that it is
this listener's own. They tell nothing of a page that only makes a request, whose answer it can't read, unless
the address is one of loopback (W3C Fetch Metadata): where no token is needed, it must be one.
Tokens are kept as SHA-256 digests, compared in constant time, and never told.
Knows nothing of what is revealed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Collection
from typing import NamedTuple

from fastproxy.admin.answers import AdminError
from fastproxy.model import RequestHead

READING, CHANGING, PROFILES = "reading", "changing", "profiles"
"""What is asked for: what only tells, what changes how the proxy works, and profiles, which cost time."""
FIELDS = frozenset((b"accept", b"authorization", b"origin", b"sec-fetch-site"))
"""What the listener's parser has to keep apart (`HeadParser.control`)."""

_TOKEN = rb"[A-Za-z0-9._~+/=-]{1,512}"
_BEARER = re.compile(rb"bearer +(" + _TOKEN + rb")", re.IGNORECASE)
_BASIC = re.compile(rb"basic +([A-Za-z0-9+/=]{1,1024})", re.IGNORECASE)
_CHALLENGE = b'www-authenticate: Basic realm="fastproxy admin"\r\nwww-authenticate: Bearer\r\n'
_OWN_SITES = (b"", b"none", b"same-origin")

UNPROVEN = (
    "this needs the token of `admin.token`{reader}: as `Authorization: Bearer TOKEN`, or as the password of "
    "Basic, as in http://x:TOKEN@HOST:PORT/"
)
_CLOSED = (
    "this {why}, so it needs one of these in the config: `admin.address: unix:/PATH` (for the proxy's own "
    "user){others}"
)
_OTHERS = {
    PROFILES: ", `admin.token: {file: FILE}` (for whoever has the token), or `admin.open: [profiles]` (for "
    "every program of this machine)",
    READING: ", `admin.token` or `admin.reader_token: {file: FILE}` (for whoever has the token), or "
    "`admin.open: [reading]` (for every program of this machine)",
    CHANGING: " or `admin.token: {file: FILE}` (for whoever has the token)",
}


class Asker(NamedTuple):
    """Who asks. peer: address, or unix. role: READING or CHANGING, which is all that it may have."""

    peer: str
    role: str


class Access:
    """Judges requests for what reveals.

    Args:
        host: what the listener was told to listen at. is_unix: whether that is a Unix socket.
        is_loopback: whether only programs of this machine reach it, over TCP.
        token: the token that lets in; None where there is none. reader_token: one that is for READING alone.
        open_to_all: what needs none: PROFILES, READING.
    """

    __slots__ = ("_digest", "_host", "_is_loopback", "_is_unix", "_open_to_all", "_reader_digest")

    def __init__(
        self,
        host: str,
        *,
        is_unix: bool,
        is_loopback: bool = False,
        token: bytes | None,
        reader_token: bytes | None = None,
        open_to_all: Collection[str] = (),
    ) -> None:
        self._host = _plain(host)
        self._is_loopback = is_loopback
        self._is_unix = is_unix
        self._digest = None if token is None else hashlib.sha256(token).digest()
        self._reader_digest = None if reader_token is None else hashlib.sha256(reader_token).digest()
        self._open_to_all = frozenset(open_to_all)

    def check(self, head: RequestHead, need: str) -> str:
        """Let a request pass.

        Args:
            need: what it asks for: READING, CHANGING or PROFILES.

        Returns:
            What whoever asks may have: CHANGING, which is all of it, or what was asked for.

        Raises:
            AdminError: it may not.
        """
        self._check_page(head)
        if self._is_unix:
            return CHANGING
        if need in self._open_to_all:
            return need
        reader_digest = self._reader_digest if need == READING else None
        digests = [digest for digest in (self._digest, reader_digest) if digest is not None]
        authorization = head.control.get(b"authorization", b"")
        presented = hashlib.sha256(_presented(authorization)).digest()
        if any(hmac.compare_digest(presented, digest) for digest in digests):
            return READING if self._is_reader(presented) else CHANGING
        reader = "" if reader_digest is None else " or `admin.reader_token`"
        if self._is_reader(presented):
            raise AdminError(403, f"the token of `admin.reader_token` only reads; {_closed(need)}")
        if not digests:
            raise AdminError(403, _closed(need))
        if not authorization:
            raise AdminError(401, UNPROVEN.format(reader=reader), _CHALLENGE)
        raise AdminError(401, f"this is not the token of `admin.token`{reader}", _CHALLENGE)

    def check_name(self, head: RequestHead) -> None:
        """Let whoever reaches the listener pass; a page whose name leads to loopback doesn't reach it.

        Raises:
            AdminError: the Host header says a name that no program of this machine would ask for.
        """
        if self._is_loopback and head.host and not self._is_own_host(head.host):
            raise _foreign_host()

    def _is_reader(self, presented: bytes) -> bool:
        return self._reader_digest is not None and hmac.compare_digest(presented, self._reader_digest)

    def _check_page(self, head: RequestHead) -> None:
        if not self._is_own_host(head.host):
            raise _foreign_host()
        origin = head.control.get(b"origin", b"")
        site = head.control.get(b"sec-fetch-site", b"").lower()
        if (origin and origin.lower() != b"http://" + head.host.lower()) or site not in _OWN_SITES:
            raise AdminError(403, "a page of another origin asks for this")

    def _is_own_host(self, host: bytes) -> bool:
        """Whether a Host header, well-formed or empty, says what only an honest client would.

        0.0.0.0 is nobody's address, but leads to this machine: pages use it to get past a browser's guard.
        """
        if not host:
            return self._is_unix
        text = host.decode("ascii")
        name = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return _plain(name) in ("localhost", self._host)
        address = getattr(address, "ipv4_mapped", None) or address
        return address.is_loopback if self._open_to_all else not address.is_unspecified


def _foreign_host() -> AdminError:
    return AdminError(403, "the Host header says another name than this listener has; ask by IP address")


def _closed(need: str) -> str:
    why = "changes how the proxy works" if need == CHANGING else "reveals how the proxy works"
    return _CLOSED.format(why=why, others=_OTHERS[need])


def _presented(authorization: bytes) -> bytes:
    """Return the token that an Authorization header has, b"" for none."""
    if bearer := _BEARER.fullmatch(authorization):
        return bearer[1]
    if basic := _BASIC.fullmatch(authorization):
        try:
            return base64.b64decode(basic[1], validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")
