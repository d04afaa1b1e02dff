"""Dates while a proxy runs, under a clock that is set by hand: which keys count, and who is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.app.key_dates import LINES, SHOWN, KeyDates
from fastproxy.config.snapshot import Peer
from fastproxy.telemetry.exposition import render
from fastproxy.telemetry.metrics import Metrics
from fastproxy.telemetry.state import state_of

DAY_S = 86_400.0
START_S = 1_800_000_000.0
KEYS = [bytes([number]) * 32 for number in range(8)]


class Watched:
    """The dates of some peers, and a clock."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now_s = START_S
        self.metrics = Metrics("in", "1", [], [])
        self.dates = KeyDates("caller", self.metrics, lambda: self.now_s)
        self._log = caplog

    def told(self) -> list[tuple[str, str, int]]:
        """What the log has got since this was asked last: what, of whom, how many days are left."""
        records = [vars(record) for record in self._log.records if record.name == "fastproxy.keys"]
        self._log.clear()
        return [
            (record["message"], record.get("caller", ""), record.get("days_left", 0)) for record in records
        ]

    def look(self, peers: Sequence[Peer]) -> dict[str, tuple[bytes, ...]]:
        return {peer.name: peer.public_keys for peer in self.dates.counting(peers)}


@pytest.fixture
def watched(caplog: pytest.LogCaptureFixture) -> Watched:
    caplog.set_level(logging.INFO)
    return Watched(caplog)


def peer(name: str, *keys: bytes, **days: float) -> Peer:
    """A peer with these keys; `key3=5` gives the key 3 five days."""
    dates = {KEYS[int(key.removeprefix("key"))]: START_S + left * DAY_S for key, left in days.items()}
    return Peer(name, keys, "", None, 0, dates)


def test_a_key_counts_through_its_last_second_and_again_when_the_clock_is_set_back(watched: Watched) -> None:
    peers = (peer("web", KEYS[1], KEYS[2], key1=90), peer("bot", KEYS[3]))
    all_keys = {"web": (KEYS[1], KEYS[2]), "bot": (KEYS[3],)}
    assert watched.look(peers) == all_keys
    watched.now_s = START_S + 90 * DAY_S
    assert watched.look(peers) == all_keys
    watched.now_s += 0.001
    assert watched.look(peers) == {"web": (KEYS[2],), "bot": (KEYS[3],)}
    watched.now_s = START_S
    assert watched.look(peers) == all_keys


def test_nothing_new_is_the_very_same_object(watched: Watched) -> None:
    peers = (peer("web", KEYS[1], key1=90),)
    first = watched.dates.counting(peers)
    watched.now_s += 60 * DAY_S  # there is something to tell
    assert watched.dates.counting(peers) is first
    watched.now_s += 31 * DAY_S
    assert watched.dates.counting(peers) is not first


def test_the_log_tells_once_a_day_from_30_days_ahead_and_goes_on_after_the_date(watched: Watched) -> None:
    peers = (peer("web", KEYS[1], key1=31),)
    assert watched.look(peers)
    assert watched.told() == []
    watched.now_s += 1.5 * DAY_S
    watched.look(peers)
    assert watched.told() == [("a public key ends soon", "web", 29)]
    watched.now_s += 0.9 * DAY_S
    watched.look(peers)
    assert watched.told() == []
    watched.now_s += 0.1 * DAY_S
    watched.look(peers)
    assert watched.told() == [("a public key ends soon", "web", 28)]
    watched.now_s = START_S + 31 * DAY_S - 10
    watched.look(peers)
    assert watched.told() == [("a public key ends soon", "web", 0)]
    watched.now_s += 11  # that it has ended is news, a day or not
    watched.look(peers)
    watched.look(peers)
    assert watched.told() == [("a public key has passed its date", "web", 0)]
    watched.now_s += DAY_S
    watched.look(peers)
    assert watched.told() == [("a public key has passed its date", "web", 0)]


def test_the_log_says_what_to_do_and_no_key(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    watched.look((peer("web", KEYS[1], key1=3),))
    record = vars(caplog.records[-1])
    assert record["not_after"] == "2027-01-18T08:00:00Z"
    assert "keys new" in record["advice"]
    assert KEYS[1].hex() not in str(record)


def test_a_folder_of_keys_that_end_together_does_not_flood_the_log(watched: Watched) -> None:
    keys = [number.to_bytes(32, "big") for number in range(LINES + 7)]
    peers = tuple(Peer(f"c{key.hex()}", (key,), "", None, 0, {key: START_S + 5}) for key in keys)
    watched.look(peers)
    told = watched.told()
    assert len(told) == LINES + 1
    assert told[-1][0] == "more public keys end, or have ended"
    watched.look(peers)
    assert watched.told() == []


def test_a_day_has_no_more_lines_than_that_however_the_dates_lie(watched: Watched) -> None:
    keys = [number.to_bytes(32, "big") for number in range(3 * LINES)]
    peers = tuple(
        Peer(f"c{place}", (key,), "", None, 0, {key: START_S + 30 * DAY_S + place * 60})
        for place, key in enumerate(keys)
    )
    watched.look(peers)
    for _ in range(3 * LINES):
        watched.now_s += 60
        watched.look(tuple(peers))
    told = [what for what, _, _ in watched.told()]
    assert told.count("a public key ends soon") == LINES
    assert told.count("more public keys end, or have ended") == 1


class Asked(tuple[Peer, ...]):
    """Peers that may be gone through, or not."""

    is_over = False

    def __iter__(self) -> Iterator[Peer]:
        assert not self.is_over
        return super().__iter__()


def test_a_date_concerns_its_own_peer_alone(watched: Watched) -> None:
    """With 100,000 callers, going through all of them for each date would hold everybody up."""
    peers = Asked((peer("web", KEYS[1], key1=40), peer("bot", KEYS[2], key2=50), peer("cart", KEYS[3])))
    assert len(watched.look(peers)) == 3
    peers.is_over = True
    for days, left in ((15, 2), (41, 1), (51, 0)):
        watched.now_s = START_S + days * DAY_S
        assert sum(bool(keys) for keys in watched.look(peers).values()) == left + 1


@given(
    st.lists(st.dictionaries(st.sampled_from(KEYS), st.integers(-3, 70), max_size=3), max_size=5),
    st.lists(st.integers(-4, 75), min_size=1, max_size=12),
)
def test_whichever_way_the_clock_jumps_the_keys_are_those_of_the_time(
    dates: list[dict[bytes, int]], days: list[int]
) -> None:
    peers = tuple(
        Peer(f"c{place}", tuple(KEYS), "", None, 0, {key: START_S + day * DAY_S for key, day in one.items()})
        for place, one in enumerate(dates)
    )
    now_s = START_S
    metrics = Metrics("in", "1", [], [])
    known = KeyDates("caller", metrics, lambda: now_s)
    for day in days:
        for now_s in (START_S + day * DAY_S, START_S + day * DAY_S + 0.5):
            assert list(known.counting(peers)) == [peer.at(now_s) for peer in peers]


def left_s(watched: Watched) -> dict[str, float]:
    """What a scrape says."""
    lines = render(state_of(watched.metrics, "")).decode().splitlines()
    start = "fastproxy_key_not_after_seconds{"
    return {
        line.split("}")[0].removeprefix(start): float(line.split()[-1]) for line in lines if start in line
    }


def test_the_metric_shows_the_next_date_of_each_name_or_the_last_that_has_passed(watched: Watched) -> None:
    peers = (peer("web", KEYS[1], KEYS[2], key1=10, key2=20), peer("bot", KEYS[3]))
    watched.look(peers)
    label = 'kind="caller",name="web",role="in"'
    assert left_s(watched) == {label: 10 * DAY_S}
    watched.now_s += 15 * DAY_S
    assert left_s(watched) == {label: 5 * DAY_S}
    watched.now_s += 6 * DAY_S
    assert left_s(watched) == {label: -1 * DAY_S}
    watched.look((peer("bot", KEYS[3]),))
    assert left_s(watched) == {}


def test_the_metric_is_bounded_and_shows_what_ends_first(watched: Watched) -> None:
    keys = [number.to_bytes(32, "big") for number in range(SHOWN + 5)]
    peers = tuple(
        Peer(f"c{place}", (key,), "", None, 0, {key: START_S + 9e6 - place}) for place, key in enumerate(keys)
    )
    watched.look(peers)
    shown = left_s(watched)
    assert len(shown) == SHOWN
    assert 'kind="caller",name="c0",role="in"' not in shown


def test_the_own_certificate_is_shown_as_well() -> None:
    metrics = Metrics("out", "1", [], [])
    KeyDates("receiver", metrics, lambda: START_S, lambda: START_S + 60)
    text = render(state_of(metrics, ""))
    assert b'fastproxy_key_not_after_seconds{kind="own",name="certificate",role="out"} 60.0' in text
