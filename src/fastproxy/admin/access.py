"""Who may see what reveals more than health and metrics.

By a Unix socket, which is made with mode 0600: the proxy's own user. By TCP: whoever has the token, or, where
the config opens it to the machine, every program on it. In all cases the request must not be a web page's
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

from fastproxy.admin.answers import AdminError
from fastproxy.model import RequestHead

FIELDS = frozenset((b"accept", b"authorization", b"origin", b"sec-fetch-site"))
"""What the listener's parser has to keep apart (`HeadParser.control`)."""

_TOKEN = rb"[A-Za-z0-9._~+/=-]{1,512}"
_BEARER = re.compile(rb"bearer +(" + _TOKEN + rb")", re.IGNORECASE)
_BASIC = re.compile(rb"basic +([A-Za-z0-9+/=]{1,1024})", re.IGNORECASE)
_CHALLENGE = b'www-authenticate: Basic realm="fastproxy admin"\r\nwww-authenticate: Bearer\r\n'
_OWN_SITES = (b"", b"none", b"same-origin")

CLOSED = (
    "this reveals how the proxy works, so it needs one of these in the config: `admin.address: unix:/PATH` "
    "(for the proxy's own user), `admin.token: {file: FILE}` (for whoever has the token), or "
    "`admin.open: [profiles]` (for every program of this machine)"
)
UNPROVEN = (
    "this needs the token of `admin.token`: as `Authorization: Bearer TOKEN`, or as the password of Basic, "
    "as in http://x:TOKEN@HOST:PORT/"
)


class Access:
    """Judges requests for what reveals.

    Args:
        host: what the listener was told to listen at. is_unix: whether that is a Unix socket.
        token: the token that lets in; None where there is none. is_open: whether none is needed.
    """

    __slots__ = ("_digest", "_host", "_is_open", "_is_unix")

    def __init__(self, host: str, *, is_unix: bool, token: bytes | None, is_open: bool) -> None:
        self._host = _plain(host)
        self._is_unix = is_unix
        self._digest = None if token is None else hashlib.sha256(token).digest()
        self._is_open = is_open

    def check(self, head: RequestHead, *, is_change: bool = False) -> None:
        """Let a request pass.

        Args:
            is_change: it asks for more than profiles, which no config opens to every program.

        Raises:
            AdminError: it may not.
        """
        self._check_page(head)
        if self._is_unix or (self._is_open and not is_change):
            return
        if self._digest is None:
            raise AdminError(403, CLOSED)
        authorization = head.control.get(b"authorization", b"")
        if not authorization:
            raise AdminError(401, UNPROVEN, _CHALLENGE)
        presented = hashlib.sha256(_presented(authorization)).digest()
        if not hmac.compare_digest(presented, self._digest):
            raise AdminError(401, "this is not the token of `admin.token`", _CHALLENGE)

    def _check_page(self, head: RequestHead) -> None:
        if not self._is_own_host(head.host):
            raise AdminError(
                403, "the Host header says another name than this listener has; ask by IP address"
            )
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
        return address.is_loopback if self._is_open else not address.is_unspecified


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
