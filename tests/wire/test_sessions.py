"""What a receiver keeps of sessions: how many, how long, and what becomes of them under new keys.

Both in one process and in memory that several share.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from fastproxy.errors import (
    ENVELOPE_EXPIRED,
    ENVELOPE_REPLAYED,
    EPOCH_MISMATCH,
    IDENTITY_UNPROVEN,
    SESSIONS_EXHAUSTED,
    ProxyError,
)
from fastproxy.wire.envelope import (
    UNKNOWN_EPOCH,
)
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.receiver import WINDOWLESS_SESSIONS, ProvenRefusalError, Receiver, ReceiverLimits
from fastproxy.wire.sessions import CallerKey
from tests.wire import parties
from tests.wire.parties import (
    CALLER,
    EPOCH,
    EXPIRY_MS,
    LIMITS,
    NAME,
    NOW_MS,
    PSK,
    RECEIVER_KEY,
    SENDER_KEY,
    STRANGER_KEY,
    assert_unproven,
    make_session,
    make_windows,
    opened,
    refusal,
    seal,
)

Make = Callable[..., Receiver]


@pytest.fixture(params=["one process", "several"])
def make_receiver(request: pytest.FixtureRequest) -> Make:
    """What makes receivers, each with a table of its own."""
    if request.param == "one process":
        return parties.make_receiver
    return lambda **given: parties.make_receiver(windows=make_windows(), **given)


# --- what is kept ---------------------------------------------------------------------------------------


def test_invented_sessions_leave_nothing_behind(make_receiver: Make) -> None:
    """100,000 of them with ephemeral keys that were never there before.

    Every hundredth names the caller's key and so gets as far as the tag; the rest names keys that nobody
    has, for the curve operations of all of them would take a quarter of a minute.
    """
    receiver = make_receiver()
    message = bytearray(seal(make_session()))
    blocks = sys.getallocatedblocks()
    for number in range(100_000):
        message[24:56] = pow(9, number, 2**255 - 19).to_bytes(32, "little")
        message[8:16] = number.to_bytes(8, "big") if number % 100 else SENDER_KEY.key_id
        with contextlib.suppress(ProxyError):
            receiver.open_head(bytes(message), NOW_MS)
            pytest.fail("an invented session was taken")
    assert receiver.session_count == 0
    assert sys.getallocatedblocks() - blocks < 1_000


def test_a_caller_has_its_share_of_sessions_and_takes_none_from_others(make_receiver: Make) -> None:
    other = CallerKey("other_service", STRANGER_KEY.public_key)
    receiver = make_receiver(callers=(CALLER, other), limits=LIMITS)
    first = make_session(1)
    opened(receiver, seal(first))
    opened(receiver, seal(make_session(2)))
    opened(receiver, seal(make_session(3)))
    refused = refusal(receiver, seal(make_session(4)))
    assert refused.cause is SESSIONS_EXHAUSTED
    assert isinstance(refused, ProvenRefusalError)
    opened(receiver, seal(make_session(4, key=STRANGER_KEY)))
    opened(receiver, seal(first))
    assert receiver.session_count == 4


def test_a_live_window_is_never_evicted_for_a_newcomer_and_an_idle_one_is(make_receiver: Make) -> None:
    receiver = make_receiver(limits=LIMITS)
    messages = [seal(make_session(number), expiry_ms=NOW_MS + 61_000) for number in range(1, 4)]
    for message in messages:
        opened(receiver, message)
    last_chance_ms = NOW_MS + 61_000 + 1_000  # the greatest expiry, on the greatest skew
    for now_ms in (NOW_MS, last_chance_ms):
        newcomer = seal(make_session(9), expiry_ms=now_ms)
        assert refusal(receiver, newcomer, now_ms).cause is SESSIONS_EXHAUSTED
        assert refusal(receiver, messages[0], now_ms).cause is ENVELOPE_REPLAYED
    now_ms = last_chance_ms + 1
    opened(receiver, seal(make_session(9), expiry_ms=now_ms), now_ms)
    assert receiver.session_count == 1
    for message in messages:
        assert refusal(receiver, message, now_ms).cause is ENVELOPE_EXPIRED


def test_use_keeps_a_session(make_receiver: Make) -> None:
    receiver = make_receiver(limits=LIMITS)
    idle, used = make_session(1), make_session(2)
    opened(receiver, seal(used))
    opened(receiver, seal(idle))
    later_ms = NOW_MS + LIMITS.lifetime_ms
    opened(receiver, seal(used, expiry_ms=later_ms), later_ms)
    receiver.expire(later_ms + 1)
    assert receiver.session_count == 1
    receiver.expire(later_ms + LIMITS.lifetime_ms + 1)
    assert receiver.session_count == 0


def test_a_clock_that_is_set_back_lets_no_replay_in(make_receiver: Make) -> None:
    receiver = make_receiver(limits=LIMITS)
    message = seal(make_session())
    opened(receiver, message)
    receiver.expire(NOW_MS + 3_600_000)  # the clock was an hour ahead for a moment
    assert receiver.session_count == 0
    refused = refusal(receiver, message)
    assert refused.cause is ENVELOPE_EXPIRED
    opened(receiver, seal(make_session(), expiry_ms=EXPIRY_MS + 1))


def test_nor_into_a_session_that_has_come_back_since(make_receiver: Make) -> None:
    receiver = make_receiver(limits=LIMITS)
    session = make_session()
    messages = [seal(session, expiry_ms=EXPIRY_MS - number) for number in range(3)]
    for message in messages:
        opened(receiver, message)
    receiver.expire(NOW_MS + 3_600_000)
    opened(receiver, seal(session, expiry_ms=EXPIRY_MS + 1))
    for message in messages:
        assert receiver.open_packed(message, NOW_MS) is None
        assert refusal(receiver, message).cause is ENVELOPE_EXPIRED
    assert receiver.open_packed(seal(session, expiry_ms=EXPIRY_MS + 1), NOW_MS) is not None


# --- another epoch ---------------------------------------------------------------------------------------


FORMER_EPOCH = bytes(16 * [9])


class Newcomers:
    """Counts the sessions that curve operations were spent on. count: how many."""

    def __init__(self) -> None:
        self.count = 0

    def admit(self, peer: str) -> None:
        """One more."""
        self.count += 1


def challenged(receiver: Receiver, message: bytes, newcomers: Newcomers, now_ms: int = NOW_MS) -> None:
    """Send an envelope of another epoch: its sender is proven, and told the right one."""
    with pytest.raises(ProvenRefusalError) as refused:
        receiver.open_head(message, now_ms, complete=True, admit_newcomer=newcomers.admit)
    assert refused.value.cause is EPOCH_MISMATCH


def test_all_that_comes_of_a_session_for_another_epoch_counts_once(make_receiver: Make) -> None:
    """A receiver that has restarted is sent all calls that are under way, and each is sealed anew."""
    receiver, session, newcomers = make_receiver(), make_session(), Newcomers()
    for _ in range(50):
        challenged(receiver, seal(session, epoch=FORMER_EPOCH), newcomers)
    assert newcomers.count == 1
    assert receiver.session_count == 0
    for _ in range(2):
        message = seal(session)
        assert receiver.open_head(message, NOW_MS, admit_newcomer=newcomers.admit) is not None
        assert refusal(receiver, message).cause is ENVELOPE_REPLAYED
    assert newcomers.count == 1
    assert receiver.session_count == 1
    challenged(receiver, seal(session, epoch=FORMER_EPOCH), newcomers)
    assert newcomers.count == 1


def test_an_envelope_for_another_epoch_is_challenged_however_old_its_counter_is(make_receiver: Make) -> None:
    """A receiver that has restarted may take up last what has waited for it longest."""
    receiver, session, newcomers = make_receiver(), make_session(), Newcomers()
    waiting = seal(session, epoch=FORMER_EPOCH)
    late = seal(session)
    for _ in range(ReceiverLimits().window_width):
        anew = seal(session)
    opened(receiver, anew)
    challenged(receiver, waiting, newcomers)
    assert refusal(receiver, late).cause is ENVELOPE_REPLAYED


def test_only_a_valid_tag_has_a_session_remembered(make_receiver: Make) -> None:
    receiver, newcomers = make_receiver(), Newcomers()
    message = seal(make_session(), epoch=FORMER_EPOCH)
    for _ in range(3):
        with pytest.raises(ProxyError) as refused:
            receiver.open_head(message[:-1] + b"?", NOW_MS, complete=True, admit_newcomer=newcomers.admit)
        assert refused.value.cause is IDENTITY_UNPROVEN
    assert newcomers.count == 3


def test_a_remembered_session_is_bound_by_its_share_and_by_time_like_any_other(make_receiver: Make) -> None:
    receiver, newcomers = make_receiver(limits=LIMITS), Newcomers()
    late = make_session(99)
    challenged(receiver, seal(late, epoch=FORMER_EPOCH), newcomers)
    assert refusal(receiver, seal(late, expiry_ms=NOW_MS - 5_000)).cause is ENVELOPE_EXPIRED
    for number in range(LIMITS.sessions_per_caller):
        opened(receiver, seal(make_session(number)))
    assert refusal(receiver, seal(late)).cause is SESSIONS_EXHAUSTED


def test_so_many_are_remembered_and_the_one_that_has_rested_longest_goes_first(make_receiver: Make) -> None:
    receiver, newcomers = make_receiver(), Newcomers()
    first, second, *others = (make_session(number << 8) for number in range(WINDOWLESS_SESSIONS + 1))
    for session in (first, second, first, *others):
        challenged(receiver, seal(session, epoch=FORMER_EPOCH), newcomers)
    made = newcomers.count
    challenged(receiver, seal(first, epoch=FORMER_EPOCH), newcomers)
    assert newcomers.count == made
    challenged(receiver, seal(second, epoch=FORMER_EPOCH), newcomers)
    assert newcomers.count == made + 1


@pytest.mark.parametrize("sign", [1, -1], ids=["later", "by a clock that was set back"])
def test_what_is_used_no_more_is_forgotten(make_receiver: Make, sign: int) -> None:
    receiver, session, newcomers = make_receiver(limits=LIMITS), make_session(), Newcomers()
    challenged(receiver, seal(session, epoch=FORMER_EPOCH), newcomers)
    receiver.expire(NOW_MS + sign * LIMITS.lifetime_ms)
    challenged(receiver, seal(session, epoch=FORMER_EPOCH), newcomers)
    assert newcomers.count == 1
    receiver.expire(NOW_MS + sign * (LIMITS.lifetime_ms + 1))
    challenged(receiver, seal(session, epoch=FORMER_EPOCH), newcomers)
    assert newcomers.count == 2


# --- new keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("callers", "keys"),
    [
        ([], [RECEIVER_KEY]),
        ([replace(CALLER, psk=PSK)], [RECEIVER_KEY]),
        ([CALLER], [PrivateKey(b"\x44" * 32)]),
    ],
    ids=["caller gone", "psk changed", "receiver key gone"],
)
def test_a_revoked_key_is_refused_at_once_and_its_window_survives(
    make_receiver: Make, callers: list[CallerKey], keys: list[PrivateKey]
) -> None:
    receiver = make_receiver()
    session = make_session()
    message = seal(session)
    opened(receiver, message)
    receiver.replace_keys(keys, callers)
    assert_unproven(receiver, seal(session))
    receiver.replace_keys([RECEIVER_KEY], [CALLER])
    assert refusal(receiver, message).cause is ENVELOPE_REPLAYED
    opened(receiver, seal(session))


@pytest.mark.parametrize(
    ("callers", "keys"),
    [
        ([], [RECEIVER_KEY]),
        ([replace(CALLER, psk=PSK)], [RECEIVER_KEY]),
        ([CALLER], [PrivateKey(b"\x44" * 32)]),
    ],
    ids=["caller gone", "psk changed", "receiver key gone"],
)
def test_a_revoked_key_is_refused_at_once_that_was_only_ever_challenged(
    make_receiver: Make, callers: list[CallerKey], keys: list[PrivateKey]
) -> None:
    receiver, session, newcomers = make_receiver(), make_session(), Newcomers()
    challenged(receiver, seal(session, epoch=FORMER_EPOCH), newcomers)
    receiver.replace_keys(keys, callers)
    for epoch in (FORMER_EPOCH, EPOCH):
        assert_unproven(receiver, seal(session, epoch=epoch))


def test_a_key_that_moves_to_another_name_takes_its_challenged_sessions_along(make_receiver: Make) -> None:
    receiver, session, newcomers = make_receiver(), make_session(), Newcomers()
    challenged(receiver, seal(session, epoch=FORMER_EPOCH), newcomers)
    receiver.replace_keys([RECEIVER_KEY], [replace(CALLER, name="chat2")])
    assert opened(receiver, seal(session)).caller.name == "chat2"


def test_a_key_that_moves_to_another_name_takes_its_sessions_along(make_receiver: Make) -> None:
    receiver = make_receiver()
    session = make_session()
    assert opened(receiver, seal(session)).caller.name == "chat_service"
    receiver.replace_keys([RECEIVER_KEY], [replace(CALLER, name="chat2")])
    assert opened(receiver, seal(session)).caller.name == "chat2"


@pytest.mark.parametrize(
    "callers", [[CALLER, replace(CALLER, name="twin")], [CallerKey("self", RECEIVER_KEY.public_key)]]
)
def test_one_key_in_two_places_is_refused(callers: list[CallerKey]) -> None:
    with pytest.raises(ValueError, match="two places"):
        Receiver([RECEIVER_KEY], NAME, EPOCH, callers)


@pytest.mark.parametrize("epoch", [UNKNOWN_EPOCH, b"short"])
def test_an_epoch_is_16_bytes_not_all_zero(make_receiver: Make, epoch: bytes) -> None:
    with pytest.raises(ValueError, match="epoch"):
        make_receiver(epoch=epoch)


def test_secrets_do_not_show() -> None:
    assert "UUUU" not in repr(replace(CALLER, psk=PSK))
