"""Receivers that share what they accepted: nothing of one passes another, and none outstays the others."""

from __future__ import annotations

import pytest

from fastproxy.errors import ENVELOPE_EXPIRED, ENVELOPE_REPLAYED, SESSIONS_EXHAUSTED
from fastproxy.wire.receiver import Receiver
from fastproxy.wire.replay import ReplayWindow
from fastproxy.wire.sessions import CallerKey
from fastproxy.wire.shared_windows import SharedWindows
from tests.wire.parties import (
    CALLER,
    EXPIRY_MS,
    LIMITS,
    NOW_MS,
    RECEIVER_KEY,
    STRANGER_KEY,
    make_receiver,
    make_session,
    make_windows,
    opened,
    refusal,
    seal,
)

OTHER = CallerKey("other_service", STRANGER_KEY.public_key)


@pytest.fixture
def windows() -> SharedWindows:
    """Room for 8 sessions."""
    return make_windows()


def receivers(windows: SharedWindows, count: int = 2) -> list[Receiver]:
    return [make_receiver(callers=(CALLER, OTHER), limits=LIMITS, windows=windows) for _ in range(count)]


def test_what_one_has_accepted_is_a_replay_to_all(windows: SharedWindows) -> None:
    first, second, third = receivers(windows, 3)
    session = make_session()
    messages = [seal(session) for _ in range(3)]
    opened(first, messages[0])
    for receiver in (first, second, third):
        assert refusal(receiver, messages[0]).cause is ENVELOPE_REPLAYED
    opened(second, messages[2])
    opened(third, messages[1])
    for receiver in (first, second, third):
        for message in messages:
            assert refusal(receiver, message).cause is ENVELOPE_REPLAYED
            assert receiver.open_packed(message, NOW_MS) is None


def test_on_the_short_way_as_well(windows: SharedWindows) -> None:
    first, second = receivers(windows)
    session = make_session()
    opened(first, seal(session))
    opened(second, seal(session))
    message = seal(session)
    assert first.open_packed(message, NOW_MS) is not None
    assert second.open_packed(message, NOW_MS) is None
    assert refusal(second, message).cause is ENVELOPE_REPLAYED


def test_who_comes_later_knows_what_those_before_have_accepted(windows: SharedWindows) -> None:
    (first,) = receivers(windows, 1)
    message = seal(make_session())
    opened(first, message)
    del first
    (second,) = receivers(windows, 1)
    assert refusal(second, message).cause is ENVELOPE_REPLAYED


def test_a_session_counts_once_and_for_its_caller(windows: SharedWindows) -> None:
    first, second = receivers(windows)
    sessions = [make_session(number) for number in range(1, 4)]
    for session in sessions:
        opened(first, seal(session))
        opened(second, seal(session))
    assert first.session_count == second.session_count == 3
    for receiver in (first, second):
        assert refusal(receiver, seal(make_session(9))).cause is SESSIONS_EXHAUSTED
    opened(second, seal(make_session(9, key=STRANGER_KEY)))
    opened(second, seal(sessions[0]))


def test_there_are_no_more_sessions_than_places(windows: SharedWindows) -> None:
    windows = make_windows(capacity=2)
    first, second = receivers(windows)
    message = seal(make_session(1))
    opened(first, message)
    opened(second, seal(make_session(2)))
    assert refusal(first, seal(make_session(3, key=STRANGER_KEY))).cause is SESSIONS_EXHAUSTED
    assert refusal(second, message).cause is ENVELOPE_REPLAYED
    late_ms = EXPIRY_MS + LIMITS.max_clock_skew_ms + 1
    opened(first, seal(make_session(3, key=STRANGER_KEY), expiry_ms=late_ms), late_ms)
    assert refusal(second, message, late_ms).cause is ENVELOPE_EXPIRED


def test_use_by_one_keeps_the_window_of_all(windows: SharedWindows) -> None:
    first, second = receivers(windows)
    session = make_session()
    opened(first, seal(session))
    message = seal(session, expiry_ms=NOW_MS + 60_000)
    opened(second, message)
    later_ms = NOW_MS + 60_000 + LIMITS.max_clock_skew_ms
    first.expire(later_ms)
    assert first.session_count == 1
    assert refusal(first, message, later_ms).cause is ENVELOPE_REPLAYED
    first.expire(later_ms + 1)
    assert first.session_count == 0


def test_a_session_whose_place_went_to_another_is_entered_anew(windows: SharedWindows) -> None:
    windows = make_windows(capacity=1)
    first, second = receivers(windows)
    session, other = make_session(1), make_session(2, key=STRANGER_KEY)
    opened(first, seal(session, expiry_ms=NOW_MS))
    now_ms = NOW_MS + LIMITS.max_clock_skew_ms + 1
    opened(second, seal(other, expiry_ms=now_ms), now_ms)
    assert first.open_packed(seal(session, expiry_ms=now_ms), now_ms) is None
    assert refusal(first, seal(session, expiry_ms=now_ms), now_ms).cause is SESSIONS_EXHAUSTED
    now_ms += LIMITS.max_clock_skew_ms + 1
    message = seal(session, expiry_ms=now_ms)
    opened(first, message, now_ms)
    for receiver in (first, second):
        assert refusal(receiver, message, now_ms).cause is ENVELOPE_REPLAYED
    assert refusal(second, seal(other, expiry_ms=now_ms), now_ms).cause is SESSIONS_EXHAUSTED


def test_a_clock_that_is_set_back_lets_no_replay_in_anywhere(windows: SharedWindows) -> None:
    first, second = receivers(windows)
    message = seal(make_session())
    opened(first, message)
    second.expire(NOW_MS + 3_600_000)
    for receiver in (first, second):
        assert refusal(receiver, message).cause is ENVELOPE_EXPIRED


def test_a_key_that_is_revoked_and_comes_back_finds_its_windows_as_they_were(windows: SharedWindows) -> None:
    first, second = receivers(windows)
    message = seal(make_session())
    opened(first, message)
    for receiver in (first, second):
        receiver.replace_keys([RECEIVER_KEY], [OTHER])
    for receiver in (first, second):
        receiver.replace_keys([RECEIVER_KEY], [CALLER, OTHER])
        assert refusal(receiver, message).cause is ENVELOPE_REPLAYED


@pytest.mark.parametrize("is_moved", [False, True], ids=["before it moved", "when it had"])
@pytest.mark.parametrize("jump", [1, 63, 64, 65, 4095, 4096, 4097, 9000])
def test_who_is_killed_while_the_window_moves_lets_nothing_in_again(
    jump: int, is_moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = make_windows(1)
    window = windows.enter(b"session", b"o" * 8, 1, 2, (1, 0))
    marked = range(0, 5000, 7)
    assert all(window.mark(counter) for counter in marked)
    mark = ReplayWindow.mark

    def end(window: ReplayWindow, counter: int) -> bool:
        if is_moved:
            mark(window, counter)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ReplayWindow, "mark", end)
        with pytest.raises(KeyboardInterrupt):
            window.mark(marked[-1] + jump)
    later = windows.enter(b"session", b"o" * 8, 1, 2, (1, 0))
    assert not any(later.mark(counter) for counter in marked)
    assert later.mark(marked[-1] + 20_000)
    assert not any(later.mark(counter) for counter in marked)
