"""What to believe of what a center says: which answers are well-formed, and which of these hold.

A center can lie, and it can have lost its memory; neither may take a service down that still runs. So an
answer holds at once when it names endpoints under a version above the last. It is doubted when it
- names none where some are known,
- goes back to a lower version (the center has lost its memory, and fills up again as registrations come in),
- names other endpoints under the same version.
Doubt ends when the center has said doubtful things without a break for `confirm_s`; then its last word holds.

Pure: time is an argument (monotonic, in seconds). Knows nothing of the event loop and of HTTP.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from fastproxy.model import Endpoint

ANSWER_LIMIT_BYTES = 131_072
"""More than the largest honest answer; whoever fetches needn't read on beyond."""

_MOST_ENDPOINTS = 256
"""What a center says must not fill the memory."""


class _ToldEndpoint(Struct, frozen=True):
    address: Annotated[str, Meta(max_length=259)]


class _Answer(Struct, frozen=True):
    name: str
    version: Annotated[int, Meta(ge=0, lt=10**18)]
    endpoints: Annotated[list[_ToldEndpoint], Meta(max_length=_MOST_ENDPOINTS)]


class Told(NamedTuple):
    """A well-formed answer. passed_over: addresses in it that nobody can connect to without a resolver."""

    version: int
    endpoints: tuple[Endpoint, ...]
    passed_over: int


def read_answer(content: bytes, name: str) -> Told:
    """Read what a center says of a name.

    Args:
        content: the JSON document. name: what was asked for.

    Raises:
        ValueError: this is no answer to the question; the message says why, for people.
    """
    if len(content) > ANSWER_LIMIT_BYTES:
        raise ValueError(f"the answer is longer than {ANSWER_LIMIT_BYTES} bytes")
    try:
        answer = msgspec.json.decode(content, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("the answer doesn't have the form of docs/center.md") from error
    if answer.name != name:
        raise ValueError("the answer is about another name")
    found = [_endpoint(told.address) for told in answer.endpoints]
    endpoints = tuple(dict.fromkeys(endpoint for endpoint in found if endpoint is not None))
    return Told(answer.version, endpoints, found.count(None))


class Belief:
    """What is held to be true of one name.

    Args:
        confirm_s: how long a center has to insist on what is doubtful, in seconds.

    endpoints: all that are believed in. told_version: of the last answer, believed or not; -1: none yet.
    """

    __slots__ = ("_confirm_s", "_doubted_since_s", "_version", "endpoints", "told_version")

    def __init__(self, confirm_s: float) -> None:
        self._confirm_s = confirm_s
        self._doubted_since_s: float | None = None
        self._version = -1
        self.endpoints: tuple[Endpoint, ...] = ()
        self.told_version = -1

    def consider(self, told: Told, now_s: float) -> bool:
        """Take an answer in; return whether it holds."""
        self.told_version = told.version
        if self._is_doubtful(told):
            if self._doubted_since_s is None:
                self._doubted_since_s = now_s
            if now_s - self._doubted_since_s < self._confirm_s:
                return False
        self._doubted_since_s = None
        self._version = told.version
        self.endpoints = told.endpoints
        return True

    def interrupt(self) -> None:
        """Note that the center gave no answer: what it insisted on before counts no more."""
        self._doubted_since_s = None

    def doubt_ends_in_s(self, now_s: float) -> float | None:
        """Return the seconds after which a doubted answer would hold, None without doubt."""
        if self._doubted_since_s is None:
            return None
        return max(0.0, self._doubted_since_s + self._confirm_s - now_s)

    def _is_doubtful(self, told: Told) -> bool:
        if not self.endpoints or set(told.endpoints) == set(self.endpoints):
            return False
        return not told.endpoints or told.version <= self._version


def _endpoint(text: str) -> Endpoint | None:
    """Return the endpoint at `IP:PORT`, None for anything else: a name would need a resolver."""
    host, _, digits = text.rpartition(":")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 5 and 1 <= int(digits) <= 65535):
        return None
    is_bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ipaddress.ip_address(host[1:-1] if is_bracketed else host)
    except ValueError:
        return None
    if (ip.version == 6) != is_bracketed or ip.is_unspecified or ip.is_multicast or "%" in host:
        return None
    port = int(digits)
    return Endpoint(str(ip), port, f"[{ip}]:{port}" if is_bracketed else f"{ip}:{port}")
