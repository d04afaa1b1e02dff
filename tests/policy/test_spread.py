"""Who takes a connection: never more than the share, whatever comes and in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.policy.spread import CONNECTIONS_SLACK, LINKS_SLACK, share, taker


@pytest.mark.parametrize(
    ("total", "workers", "slack", "number"),
    [(8, 4, LINKS_SLACK, 2), (9, 4, LINKS_SLACK, 3), (1, 4, LINKS_SLACK, 1), (400, 4, CONNECTIONS_SLACK, 120),
     (8, 4, CONNECTIONS_SLACK, 2), (10, 2, CONNECTIONS_SLACK, 6)],
)  # fmt: skip
def test_the_share_is_rounded_up_or_has_some_slack(
    total: int, workers: int, slack: float, number: int
) -> None:
    assert share(total, workers, slack) == number


def test_a_worker_alone_takes_everything() -> None:
    assert taker(1000, (), LINKS_SLACK, 0.5) is None


def test_chance_decides_among_those_that_have_the_fewest() -> None:
    others = (3, 1, 2, 1)
    assert {taker(4, others, LINKS_SLACK, chance) for chance in (0.0, 0.4, 0.6, 0.999)} == {1, 3}


@given(
    st.integers(2, 16).flatmap(lambda workers: st.tuples(
        st.just(workers), st.lists(st.integers(0, workers - 1), max_size=300),
    )),
    st.sampled_from((LINKS_SLACK, CONNECTIONS_SLACK)),
    st.floats(0, 1, exclude_max=True),
)  # fmt: skip
def test_no_worker_gets_more_than_its_share_however_the_kernel_spreads(
    came: tuple[int, list[int]], slack: float, chance: float
) -> None:
    workers, arrivals = came
    numbers = [0] * workers
    for at in arrivals:
        others = [number for place, number in enumerate(numbers) if place != at]
        chosen = taker(numbers[at], others, slack, chance)
        if chosen is None:
            numbers[at] += 1
        else:
            place = chosen + (chosen >= at)
            assert numbers[place] == min(numbers) < numbers[at]
            numbers[place] += 1
        assert max(numbers) <= share(sum(numbers), workers, slack)


@given(st.integers(0, 100), st.lists(st.integers(0, 100), max_size=8), st.floats(0, 1, exclude_max=True))
def test_a_connection_is_handed_on_only_to_one_that_has_fewer(
    own: int, others: list[int], chance: float
) -> None:
    chosen = taker(own, others, LINKS_SLACK, chance)
    assert chosen is None or others[chosen] < own
