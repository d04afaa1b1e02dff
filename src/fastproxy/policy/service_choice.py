"""Which service does a request at the out proxy's plain side mean?

The name comes from the first segment of the path (which is taken off), from the host, or is fixed. A target
in absolute form names it by its host, whatever the setting, so that `HTTP_PROXY` works. Names that aren't
configured lead to the fixed or default service; without one they are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from fastproxy.errors import SERVICE_UNKNOWN, ProxyError

ServiceFrom = Literal["path", "host", "fixed"]


class ServiceChoice:
    """The rule of one listener, compiled.

    Args:
        service_from: what names the service.
        services: the names that are configured.
        fallback: the service of `fixed`; with `path` and `host` that of requests that name none, or "".
    """

    __slots__ = ("_by_host", "_by_segment", "_fallback", "_service_from")

    def __init__(self, service_from: ServiceFrom, services: Iterable[str], fallback: str = "") -> None:
        self._service_from = service_from
        self._fallback = fallback
        self._by_segment = {name.encode(): name for name in services}
        # Hosts are the same in upper and lower case (RFC 3986, section 3.2.2).
        self._by_host = {segment.lower(): name for segment, name in self._by_segment.items()}

    def choose(self, target: bytes, host: bytes, absolute: bool) -> tuple[str, bytes]:
        """Return the service and the target to send to it.

        Args:
            target: in origin form, or b"*". host: authority of the request, or b"".
            absolute: whether the target came in absolute form.

        Raises:
            ProxyError: SERVICE_UNKNOWN.
        """
        if absolute or self._service_from == "host":
            service = self._by_host.get(_name_of(host))
            if service is not None:
                return service, target
        elif self._service_from == "path":
            end = target.find(b"/", 1)
            segment = target[1:] if end < 0 else target[1:end]
            rest = b"/" if end < 0 else target[end:]
            if b"?" in segment:
                segment, _, _ = segment.partition(b"?")
                rest = b"/" + target[1 + len(segment) :]
            service = self._by_segment.get(segment)
            if service is not None:
                return service, rest
        if not self._fallback:
            raise ProxyError(SERVICE_UNKNOWN, "the request names no service that is configured here")
        return self._fallback, target


def _name_of(authority: bytes) -> bytes:
    """Return the host of an authority without its port, in lower case."""
    host, colon, port = authority.rpartition(b":")
    return (host if colon and (port.isdigit() or not port) else authority).lower()
