"""Who waits is woken once, by changes only, and takes no more than its places."""

import pytest

from fastproxy.admin.center.names import Key
from fastproxy.admin.center.refusals import TOO_MANY_WATCHERS, CenterError
from fastproxy.admin.center.waiters import Wait, Waiters

SONG = Wait(Key("services", "song"), 5, 30)
CHAT = Wait(Key("services", "chat"), 5, 30)


def test_a_change_wakes_whoever_waits_for_the_name_once() -> None:
    waiters, woken = Waiters(), []
    waiters.add(SONG, "a", lambda: woken.append("song"))
    waiters.add(SONG, "b", lambda: woken.append("song too"))
    waiters.add(CHAT, "a", lambda: woken.append("chat"))
    waiters.on_change(SONG.key, 5)
    assert woken == []
    waiters.on_change(SONG.key, 6)
    waiters.on_change(SONG.key, 7)
    assert sorted(woken) == ["song", "song too"]
    assert waiters.count == 1


def test_whoever_leaves_is_not_woken() -> None:
    waiters, woken = Waiters(), []
    leave = waiters.add(SONG, "a", lambda: woken.append("song"))
    stays = waiters.add(SONG, "a", lambda: woken.append("stays"))
    leave()
    leave()
    waiters.on_change(SONG.key, 6)
    stays()
    assert woken == ["stays"]
    assert waiters.count == 0


def test_places_are_bounded_in_all_and_per_peer() -> None:
    waiters = Waiters(limit=3, limit_per_peer=2)
    leave = waiters.add(SONG, "a", lambda: None)
    waiters.add(SONG, "a", lambda: None)
    with pytest.raises(CenterError) as caught:
        waiters.require_room("a")
    assert caught.value.refusal is TOO_MANY_WATCHERS
    waiters.require_room("b")
    waiters.add(CHAT, "b", lambda: None)
    with pytest.raises(CenterError, match="watchers is 3"):
        waiters.require_room("c")
    leave()
    waiters.require_room("a")
