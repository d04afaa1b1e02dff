"""A shared limit: never exceeded, used up by one or by many, and soon there again for others."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.control.rooms import SharedRoom
from tests.locks import HeldLocks

WORKERS = 4


def rooms(total: int, workers: int = WORKERS, elsewhere: int = 0) -> list[SharedRoom]:
    shares = memoryview(bytearray(8 * 16)).cast("Q")
    locks = HeldLocks()
    return [SharedRoom(total, lambda: elsewhere, shares, mine, workers, locks, 7) for mine in range(workers)]


def filled(room: SharedRoom, share: int, used: int, more: int) -> tuple[int, int]:
    """Have up to so many more, asking as a proxy does; return the share and how many there are."""
    for _ in range(more):
        if used + 1 > share:
            share = room.raised(used + 1)
        if used + 1 > share:
            break
        used += 1
    return share, used


@settings(max_examples=200)
@given(
    st.integers(1, 500),
    st.lists(
        st.tuples(
            st.sampled_from(["more", "less", "trim"]), st.integers(0, WORKERS - 1), st.integers(0, 200)
        ),
        max_size=60,
    ),
)
def test_it_is_never_exceeded_and_never_lost(total: int, steps: list[tuple[str, int, int]]) -> None:
    several = rooms(total)
    shares, used = [room.begin() for room in several], [0] * WORKERS
    for step, at, number in steps:
        if step == "more":
            shares[at], used[at] = filled(several[at], shares[at], used[at], number)
        elif step == "less":
            used[at] = max(0, used[at] - number)
        else:
            shares[at] = several[at].trimmed(used[at])
        assert sum(used) <= sum(shares) <= total
    for _ in range(2):  # what the first gives back may leave others too much
        shares = [room.trimmed(mine) for room, mine in zip(several, used, strict=True)]
    spare = sum(shares) - sum(used)
    assert spare <= WORKERS * (total - sum(used)) // (8 * WORKERS)
    shares[0], had = filled(several[0], shares[0], used[0], total)
    assert had - used[0] >= total - sum(used) - spare


def test_one_worker_can_have_all_while_the_others_rest() -> None:
    for total in (1, 7, 100, 10_000):
        several = rooms(total)
        assert filled(several[0], several[0].begin(), 0, total + 5)[1] == total


def test_those_that_have_a_little_leave_most_to_who_needs_it() -> None:
    several = rooms(10_000)
    shares = [filled(room, room.begin(), 0, 1)[0] for room in several]
    _, used = filled(several[0], shares[0], 1, 10_000)
    assert used > 9_000


def test_small_limits_are_used_up_exactly() -> None:
    several = rooms(12)
    used = [filled(room, room.begin(), 0, 3)[1] for room in several]
    assert used == [3] * WORKERS
    assert [room.raised(4) for room in several] == [3] * WORKERS
    assert several[0].is_tight
    assert several[1].trimmed(2) == 2
    assert [several[0].raised(4), several[2].raised(4)] == [4, 3]


def test_even_the_smallest_limit_is_tight_when_nothing_is_left() -> None:
    for total in (1, 2, 3):
        (room, *_) = rooms(total)
        assert not room.is_tight
        assert room.raised(total) == total
        assert room.is_tight


def test_asking_is_rare_with_room_left() -> None:
    (room, *_) = rooms(10_000)
    share, asked = room.begin(), 0
    for used in range(1, 5_001):
        if used > share:
            asked += 1
            share = room.raised(used)
    assert asked < 50
    assert not room.is_tight


def test_what_goes_on_elsewhere_in_the_process_counts_too() -> None:
    several = rooms(10, elsewhere=4)
    assert filled(several[0], several[0].begin(), 0, 20)[1] == 6
    assert several[0].trimmed(3) == 3
    shares = memoryview(bytearray(16)).cast("Q")
    both = [SharedRoom(10, lambda: 0, shares, mine, 2, HeldLocks(), 7) for mine in range(2)]
    assert filled(both[0], 0, 0, 20)[1] == 10
    both[0].total = 6  # a reload: nothing new until enough have ended
    assert both[0].trimmed(10) == 10
    assert both[0].raised(11) == 10
    assert both[0].trimmed(5) == 5
    assert both[0].raised(7) == 6
