"""Leases, versions and bounds of the center's memory; the clock is a number."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fastproxy.admin.center.names import Key
from fastproxy.admin.center.refusals import FULL, QUOTA_USED_UP, CenterError, Refusal
from fastproxy.admin.center.registry import Bounds, Registered, Registry

SONG = Key("services", "song")
CHAT = Key("services", "chat")


def registry_of(*restored: Registered, bounds: Bounds | None = None, first_version: int = 100) -> Registry:
    return Registry(bounds or Bounds(), first_version=first_version, restored=restored, now_s=0.0)


def at(number: int, key: Key = SONG, *, ttl_s: float = 15.0, owner: str = "o") -> Registered:
    return Registered(key, f"192.0.2.{number}:80", ttl_s, owner)


def addresses(registry: Registry, key: Key = SONG) -> list[str]:
    return [address.split(":")[0].rpartition(".")[2] for address in registry.look_up(key).addresses]


def pass_time(registry: Registry, start_s: float, end_s: float) -> None:
    """Let time go by as a running center sees it."""
    now_s = start_s
    while now_s < end_s:
        now_s = min(end_s, now_s + 1.0)
        registry.expire(now_s)


def test_a_lease_ends_unless_it_is_renewed() -> None:
    registry = registry_of()
    registry.register(at(1), 0.0)
    registry.register(at(2), 0.0)
    registry.register(at(1), 10.0)
    pass_time(registry, 0.0, 14.9)
    assert addresses(registry) == ["1", "2"]
    pass_time(registry, 14.9, 15.0)
    assert addresses(registry) == ["1"]
    pass_time(registry, 15.0, 25.0)
    assert addresses(registry) == []


def test_a_renewal_may_shorten_a_lease() -> None:
    registry = registry_of()
    registry.register(at(1, ttl_s=100), 0.0)
    registry.expire(0.0)
    registry.register(at(1, ttl_s=3), 1.0)
    pass_time(registry, 1.0, 4.0)
    assert addresses(registry) == []


def test_what_came_without_a_lease_stays() -> None:
    registry = registry_of()
    registry.register(at(1, ttl_s=inf), 0.0)
    pass_time(registry, 0.0, 10_000.0)
    assert addresses(registry) == ["1"]
    assert registry.deregister(SONG, "192.0.2.1:80")
    assert not registry.deregister(SONG, "192.0.2.1:80")
    assert addresses(registry) == []


def test_time_in_which_nobody_could_renew_does_not_count() -> None:
    registry = registry_of()
    registry.register(at(1), 0.0)
    pass_time(registry, 0.0, 5.0)
    registry.expire(1000.0)
    assert addresses(registry) == ["1"]
    pass_time(registry, 1000.0, 1009.0)
    assert addresses(registry) == ["1"]
    pass_time(registry, 1009.0, 1010.0)
    assert addresses(registry) == []


def test_heartbeats_change_no_version() -> None:
    registry = registry_of()
    registry.register(at(1), 0.0)
    before = registry.look_up(SONG)
    registry.register(at(1), 1.0)
    assert registry.look_up(SONG) == before


def test_changes_are_told_with_their_version() -> None:
    registry = registry_of()
    told: list[tuple[Key, int]] = []
    registry.subscribe(lambda key, version: told.append((key, version)))
    registry.register(at(1), 0.0)
    registry.register(at(1), 1.0)
    registry.register(at(1, ttl_s=60), 2.0)
    registry.deregister(SONG, "192.0.2.1:80")
    # A heartbeat is no change; another ttl is one to be written down, under the same version.
    assert told == [(SONG, 101), (SONG, 101), (SONG, 102)]
    assert registry.look_up(SONG).version == 102


def test_a_name_that_went_comes_again_under_a_higher_version() -> None:
    registry = registry_of()
    registry.register(at(1), 0.0)
    registry.register(at(1, CHAT), 0.0)
    registry.deregister(SONG, "192.0.2.1:80")
    gone = registry.look_up(SONG)
    registry.register(at(1), 0.0)
    assert gone == (103, ())
    assert registry.look_up(SONG).version == 104


def test_a_restart_cuts_nobody_off() -> None:
    first = registry_of()
    first.register(at(1), 0.0)
    first.register(at(2, ttl_s=inf), 0.0)
    kept = first.registrations(SONG)
    second = Registry(Bounds(), first_version=1000, restored=kept, now_s=500.0)
    assert addresses(second) == ["1", "2"]
    assert second.look_up(SONG).version > first.look_up(SONG).version
    pass_time(second, 500.0, 514.0)
    assert addresses(second) == ["1", "2"]
    pass_time(second, 514.0, 515.0)
    assert addresses(second) == ["2"]


def refusal_of(registry: Registry, registered: Registered) -> Refusal:
    with pytest.raises(CenterError) as caught:
        registry.register(registered, 0.0)
    return caught.value.refusal


def test_newcomers_are_refused_and_whoever_is_there_stays() -> None:
    bounds = Bounds(names=2, registrations=4, endpoints_per_name=2, registrations_per_owner=3)
    registry = registry_of(bounds=bounds)
    registry.register(at(1), 0.0)
    registry.register(at(2), 0.0)
    assert refusal_of(registry, at(3)) is QUOTA_USED_UP
    registry.register(at(1, CHAT), 0.0)
    assert refusal_of(registry, at(2, CHAT)) is QUOTA_USED_UP
    assert refusal_of(registry, at(1, Key("receivers", "song"), owner="p")) is FULL
    registry.register(at(2, CHAT, owner="p"), 0.0)
    registry.register(at(1), 1.0)
    assert addresses(registry) == ["1", "2"]
    registry.deregister(SONG, "192.0.2.1:80")
    registry.register(at(3), 0.0)
    assert addresses(registry) == ["2", "3"]


def test_the_total_is_bounded() -> None:
    registry = registry_of(bounds=Bounds(registrations=1))
    registry.register(at(1), 0.0)
    assert refusal_of(registry, at(2)) is FULL


def test_a_hundred_thousand_names_are_no_more_than_allowed() -> None:
    registry = registry_of(bounds=Bounds(names=50, registrations_per_owner=10**6))
    refused = 0
    for number in range(100_000):
        try:
            registry.register(at(1, Key("services", f"n{number}")), 0.0)
        except CenterError:
            refused += 1
    assert refused == 100_000 - 50
    assert len(registry.registered_keys()) == 50


def test_another_owner_takes_over_account_and_lease() -> None:
    registry = registry_of(bounds=Bounds(registrations_per_owner=1))
    registry.register(at(1, owner="old"), 0.0)
    registry.register(at(1, owner="new"), 0.0)
    registry.register(at(2, owner="old"), 0.0)
    assert refusal_of(registry, at(3, owner="new")) is QUOTA_USED_UP


def test_names_come_in_pages() -> None:
    registry = registry_of(*(at(1, Key("services", name)) for name in ("c", "a", "d", "b")))
    registry.register(at(2, Key("services", "b")), 0.0)
    registry.register(at(1, Key("receivers", "x")), 0.0)
    first = registry.page("services", start="", limit=3)
    assert [(name, count) for name, count, _ in first.names] == [("a", 1), ("b", 2), ("c", 1)]
    assert first.next == "d"
    last = registry.page("services", start="d", limit=3)
    assert [name for name, _, _ in last.names] == ["d"]
    assert last.next is None


KEYS = st.sampled_from([SONG, CHAT, Key("receivers", "song")])
NUMBERS = st.integers(1, 3)
BOUNDS = Bounds(names=2, registrations=5, endpoints_per_name=2, registrations_per_owner=4)


class Against(RuleBasedStateMachine):
    """The registry against a plain dictionary of expiry times."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.registry = registry_of(bounds=BOUNDS)
        self.model: dict[tuple[Key, str], float] = {}
        self.seen: dict[Key, tuple[int, tuple[str, ...]]] = {}

    @rule(key=KEYS, number=NUMBERS, ttl_s=st.sampled_from([3.0, 5.0, inf]), owner=st.sampled_from("op"))
    def register(self, key: Key, number: int, ttl_s: float, owner: str) -> None:
        registered = at(number, key, ttl_s=ttl_s, owner=owner)
        try:
            self.registry.register(registered, self.now_s)
        except CenterError:
            assert (key, registered.address) not in self.model
            return
        self.model[key, registered.address] = self.now_s + ttl_s

    @rule(key=KEYS, number=NUMBERS)
    def deregister(self, key: Key, number: int) -> None:
        address = at(number).address
        was_there = self.model.pop((key, address), None) is not None
        assert self.registry.deregister(key, address) == was_there

    @rule(eighths=st.integers(0, 24))  # of a second: sums of these are exact, as the model's must be
    def wait(self, eighths: int) -> None:
        self.now_s += eighths / 8
        self.registry.expire(self.now_s)
        self.model = {what: expires_s for what, expires_s in self.model.items() if expires_s > self.now_s}

    @rule()
    def restart(self) -> None:
        kept = [
            registered
            for key in self.registry.registered_keys()
            for registered in self.registry.registrations(key)
        ]
        highest = max((version for version, _ in self.seen.values()), default=0)
        self.registry = Registry(BOUNDS, first_version=highest + 1, restored=kept, now_s=self.now_s)
        self.model = {(one.key, one.address): self.now_s + one.ttl_s for one in kept}

    @invariant()
    def agrees_with_the_model(self) -> None:
        for key in (SONG, CHAT, Key("receivers", "song")):
            known = self.registry.look_up(key)
            assert set(known.addresses) == {address for one, address in self.model if one == key}
            assert len(known.addresses) <= BOUNDS.endpoints_per_name
            if key in self.seen:
                version, before = self.seen[key]
                assert known.version >= version, "a version went back"
                assert known.addresses == before or known.version > version, "a change without a version"
            self.seen[key] = known
        assert len(self.model) <= BOUNDS.registrations
        assert len(self.registry.registered_keys()) <= BOUNDS.names


Against.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAgainstAModel = Against.TestCase
