"""Who may register: whoever has the name's token, or, at an open center, whoever is on its machine.

Tokens are kept as SHA-256 digests only and compared in constant time. A wrong token and a name that has none
look the same from outside. Looking up needs no token: what the center tells are names and addresses, never
keys, and whoever could forge them could only cut calls off.
Knows nothing of HTTP beyond the value of the Authorization header.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Mapping, Sequence

from fastproxy.admin.center.refusals import NO_TOKEN, NOT_LOCAL, TOKEN_REFUSED, CenterError

_LEAST_TOKEN = 16
_TOKEN = re.compile(rf"[A-Za-z0-9._~+/=-]{{{_LEAST_TOKEN},512}}")  # token68 of RFC 9110, section 11.2
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")
_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/=-]{1,512})", re.IGNORECASE)


def token_digest(text: str) -> bytes:
    """Return the SHA-256 digest of a configured token.

    Args:
        text: `sha256:` and 64 hex digits, or the token itself.

    Raises:
        ValueError: it is neither; the message doesn't repeat it.
    """
    digest = _DIGEST.fullmatch(text)
    if digest:
        return bytes.fromhex(digest[1])
    if text.startswith("sha256:") or not _TOKEN.fullmatch(text):
        raise ValueError(
            f"a token is `sha256:` and 64 hex digits, or {_LEAST_TOKEN} to 512 letters, digits and ._~+/=-"
        )
    return hashlib.sha256(text.encode()).digest()


class Access:
    """Judges who may register what.

    Args:
        digests: of the tokens that may register a name, by name; one token may stand under several names.
        is_open: whether registering needs no token; then there must be none.

    Raises:
        ValueError: tokens and `is_open` contradict each other.
    """

    __slots__ = ("_accounts", "_digests", "_is_open")

    def __init__(self, digests: Mapping[str, Sequence[bytes]], *, is_open: bool) -> None:
        if is_open == bool(digests):
            raise ValueError("a center has either tokens or is open")
        self._is_open = is_open
        self._digests = {name: tuple(digests[name]) for name in digests}
        # A token's account is named after the first of its names: steady over restarts, and no secret.
        self._accounts: dict[bytes, str] = {}
        for name in sorted(digests):
            for digest in digests[name]:
                self._accounts.setdefault(digest, f"token:{name}")

    def permit(self, name: str, authorization: bytes, peer: str) -> str:
        """Return the account on which a registration goes.

        Args:
            name: what is to be registered. authorization: value of that header, b"" without one.
            peer: IP address of the other end, "unix" for a Unix socket.

        Raises:
            CenterError: it may not be registered.
        """
        if self._is_open:
            if not _is_local(peer):
                raise CenterError(NOT_LOCAL)
            return f"open:{peer}"
        bearer = _BEARER.fullmatch(authorization)
        if bearer is None:
            raise CenterError(NO_TOKEN)
        presented = hashlib.sha256(bearer[1]).digest()
        account = ""
        for digest in self._digests.get(name, ()):
            if hmac.compare_digest(digest, presented):
                account = self._accounts[digest]
        if not account:
            raise CenterError(TOKEN_REFUSED)
        return account


def _is_local(peer: str) -> bool:
    if peer == "unix":
        return True
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
