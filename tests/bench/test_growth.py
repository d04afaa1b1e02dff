"""The order of growth: found again where it is known, and put into the right words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.bench.growth import exponent, grows, in_words

QUANTITIES = (1, 1000, 10_000, 100_000)


@given(power=st.floats(-2, 3), factor=st.floats(0.001, 1e6))
def test_a_power_is_found_again(power: float, factor: float) -> None:
    steps = [(float(n), factor * n**power) for n in QUANTITIES]
    assert exponent(steps) == pytest.approx(power, abs=1e-6)


@given(
    power=st.floats(-1, 2),
    factor=st.floats(0.01, 100),
    noise=st.lists(st.floats(0.9, 1.1), min_size=4, max_size=4),
)
def test_noise_of_a_tenth_moves_it_little(power: float, factor: float, noise: list[float]) -> None:
    steps = [(float(n), factor * n**power * part) for n, part in zip(QUANTITIES, noise, strict=True)]
    found = exponent(steps)
    assert found is not None
    # Two decades between first and last: log(1.1 / 0.9) / log(100).
    assert abs(found - power) < 0.045


@given(constant=st.floats(1, 1000), per_entry=st.floats(0.001, 10))
def test_a_cost_per_entry_shows_however_large_the_rest(constant: float, per_entry: float) -> None:
    """A linear part that makes up most of the cost in the end isn't hidden by the constant one."""
    steps = [(float(n), constant + per_entry * n) for n in QUANTITIES]
    found = exponent(steps)
    assert found is not None
    assert grows(found) or per_entry * QUANTITIES[-1] < constant


def test_only_the_upper_steps_count() -> None:
    assert exponent([(1.0, 1e9), (1000.0, 7.0), (10_000.0, 7.0), (100_000.0, 7.0)]) == pytest.approx(0)


def test_two_steps_say_nothing() -> None:
    assert exponent([(1.0, 1.0), (1000.0, 1000.0)]) is None


@pytest.mark.parametrize(
    ("power", "words"),
    [
        (0.0, "is constant"),
        (0.1, "is constant"),
        (-0.1, "is constant"),
        (0.3, "grows like n^0.3"),
        (0.95, "is linear"),
        (1.05, "is linear"),
        (1.8, "grows like n^1.8"),
        (-0.4, "falls like n^-0.4"),
    ],
)
def test_words(power: float, words: str) -> None:
    assert in_words(power) == words
    assert grows(power) == words.startswith(("grows", "is linear"))
