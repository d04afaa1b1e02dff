"""Shares of several workers, put together."""

from __future__ import annotations

from fastproxy.admin.api.model import EndpointNow, IdentityNow, ServiceNow
from fastproxy.supervisor.merging import both_services, with_uses
from fastproxy.telemetry.key_uses import CALLER, OTHER, OWN, KeyUse, Row


def service(*endpoints: EndpointNow, age_s: float | None = None) -> ServiceNow:
    return ServiceNow("api", "link", "in", 15.0, age_s, list(endpoints))


def test_what_workers_have_open_adds_up_and_the_worst_they_know_is_told() -> None:
    one = service(EndpointNow("a:1", "ok", 3, 2, 1), EndpointNow("b:1", "unknown", 0, 0, 0), age_s=1.0)
    other = service(EndpointNow("a:1", "failing", 1, 0, 1), EndpointNow("c:1", "ok", 1, 1, 0), age_s=4.0)
    both = both_services(one, other)
    assert both.endpoints == [
        EndpointNow("a:1", "failing", 4, 2, 2),
        EndpointNow("b:1", "unknown", 0, 0, 0),
        EndpointNow("c:1", "ok", 1, 1, 0),
    ]
    assert both.discovery_age_s == 4.0
    assert both_services(service(), service()).discovery_age_s is None


def test_uses_of_a_receivers_key_by_many_callers_are_the_receivers() -> None:
    known = [
        IdentityNow("in", "receiver", "aa", is_own=True),
        IdentityNow("web", "caller", "bb", is_own=False),
    ]
    uses = [
        KeyUse(Row(OWN, "web", "aa"), 2, 1, 50.0, 10.0),
        KeyUse(Row(OWN, "app", "aa"), 3, 0, 70.0, 20.0),
        KeyUse(Row(CALLER, "web", "bb"), 2, 1, 60.0, 0.0),
        KeyUse(Row(CALLER, "gone", "cc"), 1, 0, 5.0, 5.0),
        KeyUse(Row(CALLER, OTHER, OTHER), 9, 0, 99.0, 1.0),
    ]
    assert with_uses(known * 2, uses) == [
        IdentityNow("in", "receiver", "aa", True, None, 5, 1, 10.0, 70.0),
        IdentityNow("web", "caller", "bb", False, None, 2, 1, None, 60.0),
        IdentityNow("gone", "caller", "cc", False, None, 1, 0, 5.0, 5.0),
    ]


def test_who_was_never_used_has_no_times() -> None:
    (one,) = with_uses([IdentityNow("web", "caller", "bb", is_own=False)], [])
    assert (one.uses, one.first_used_unix_s, one.last_used_unix_s) == (0, None, None)
