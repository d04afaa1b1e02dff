"""The registry's API of the original, for services and proxies that register the way its examples do.

    /api/register        form fields name, ip, port    answers `success`
    /api/address/get     form field name               answers `IP:PORT`, or an empty line

The original has one namespace, one address per name, and no expiry: whatever runs registers once, at its
start, and never again. So such a registration lasts until it is withdrawn, and takes the place of the name's
last one that came this way. The original sends no token; its programs can register at an open center only.
It reads an answer as host and port around a single colon, so that it is never told an IPv6 address.
Knows nothing of HTTP beyond the form's fields.
"""

from __future__ import annotations

from math import inf

from fastproxy.admin.center.access import Access
from fastproxy.admin.center.names import Key, canonical_address, key_of
from fastproxy.admin.center.refusals import MALFORMED, CenterError
from fastproxy.admin.center.registry import Registered, Registry


class CompatApi:
    """The two requests of the original's API.

    Args:
        registry: what is registered; this API sees services only. access: who may register.
    """

    __slots__ = ("_access", "_registry")

    def __init__(self, registry: Registry, access: Access) -> None:
        self._registry = registry
        self._access = access

    def register(self, form: dict[str, str], authorization: bytes, peer: str, now_s: float) -> None:
        """Register a service at one address, in place of the last one.

        Args:
            form: name, ip and port. authorization, peer: as in `Access.permit`. now_s: monotonic time.

        Raises:
            CenterError: a field is missing or malformed, or it may not be registered.
        """
        key = _key(form)
        ip = form.get("ip", "")
        host = f"[{ip}]" if ":" in ip else ip
        try:
            address = canonical_address(f"{host}:{form.get('port', '')}")
        except ValueError as error:
            raise CenterError(MALFORMED, f"ip and port: {error}") from error
        account = self._access.permit(key.name, authorization, peer)
        self._registry.register(Registered(key, address, inf, account), now_s)
        for earlier in self._registry.registrations(key):
            if earlier.ttl_s == inf and earlier.address != address:
                self._registry.deregister(key, earlier.address)

    def address(self, form: dict[str, str]) -> bytes:
        """Return the address of a service that came last, b"" when there is none.

        Raises:
            CenterError: the name is missing or malformed.
        """
        for address in reversed(self._registry.addresses_as_they_came(_key(form))):
            if not address.startswith("["):
                return address.encode()
        return b""


def _key(form: dict[str, str]) -> Key:
    try:
        return key_of("services", form.get("name", ""))
    except ValueError as error:
        raise CenterError(MALFORMED, str(error)) from error
