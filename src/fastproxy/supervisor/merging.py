"""Shares of several workers put together to what the proxy has. Pure: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from fastproxy.admin.api.model import MOST_ROWS, EndpointNow, IdentityNow, ServiceNow
from fastproxy.telemetry.key_uses import OTHER, OWN, KeyUse

_STATES = ("unknown", "ok", "failing")
"""Of an endpoint, as workers see it: the last one of those that they name counts."""


def both_services(one: ServiceNow, other: ServiceNow) -> ServiceNow:
    """Return what two workers have of a service: what each has open adds up."""
    found = {endpoint.address: endpoint for endpoint in one.endpoints}
    for endpoint in other.endpoints:
        known = found.get(endpoint.address)
        found[endpoint.address] = endpoint if known is None else EndpointNow(
            endpoint.address,
            max(known.state, endpoint.state, key=_STATES.index),
            known.open + endpoint.open,
            known.idle + endpoint.idle,
            known.in_flight + endpoint.in_flight,
        )  # fmt: skip
    ages_s = [age_s for age_s in (one.discovery_age_s, other.discovery_age_s) if age_s is not None]
    return msgspec.structs.replace(
        one, discovery_age_s=max(ages_s, default=None), endpoints=list(found.values())[:MOST_ROWS]
    )


def with_uses(identities: Iterable[IdentityNow], uses: Iterable[KeyUse]) -> list[IdentityNow]:
    """Say with identities how they were used, and add those that were used and aren't among them.

    Returns:
        This proxy's own first, then those that were used last.
    """
    found = {(one.is_own, one.name, one.key_id): one for one in identities}
    kinds: dict[bool, Literal["caller", "receiver"]] = {False: "caller", True: "receiver"}
    kinds.update((one.is_own, one.kind) for one in found.values() if one.is_own)
    owners = {one.key_id: one.name for one in found.values() if one.is_own}
    totals: dict[tuple[bool, str, str], KeyUse] = {}
    for use in uses:
        if use.row.key_id == OTHER:  # those that aren't told apart any more
            continue
        is_own = use.row.kind == OWN
        # Of a receiver's own key it is counted which callers use it.
        name = owners.get(use.row.key_id, use.row.name) if is_own else use.row.name
        total = totals.setdefault((is_own, name, use.row.key_id), KeyUse(use.row))
        total.made, total.open = total.made + use.made, total.open + use.open
        total.last_unix_s = max(total.last_unix_s, use.last_unix_s)
        firsts = [first for first in (total.first_unix_s, use.first_unix_s) if first]
        total.first_unix_s = min(firsts, default=0.0)
    for key, use in totals.items():
        is_own, name, key_id = key
        known = found.get(key) or IdentityNow(name, kinds[is_own], key_id, is_own)
        found[key] = msgspec.structs.replace(
            known,
            uses=use.made,
            open=use.open,
            first_used_unix_s=use.first_unix_s or None,
            last_used_unix_s=use.last_unix_s or None,
        )
    return sorted(found.values(), key=lambda one: (not one.is_own, -(one.last_used_unix_s or 0.0), one.name))
