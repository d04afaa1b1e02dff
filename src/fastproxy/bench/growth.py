"""How a cost grows with a quantity: the exponent of a power, fitted, and what it means in words.

Pure: numbers in, numbers and words out.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from statistics import fmean

UPPER_STEPS = 3
"""Steps that are fitted, the uppermost: below them what doesn't grow hides what does."""

CONSTANT_UP_TO = 0.1
"""Exponent up to which a cost counts as constant: over a hundredfold it is a factor of 1.6, and a spread of
10 % between the figures of three such steps makes an error of 0.03."""

LINEAR_WITHIN = 0.1

Steps = Sequence[tuple[float, float]]
"""Pairs of quantity and cost, both above 0, the quantities different and ascending."""


def exponent(steps: Steps) -> float | None:
    """Return k of the power a·n^k that comes closest to the upper steps.

    Least squares on the logarithms of both. None when there are fewer than `UPPER_STEPS` steps.
    """
    upper = [(log(quantity), log(cost)) for quantity, cost in steps[-UPPER_STEPS:]]
    if len(upper) < UPPER_STEPS:
        return None
    mean_x, mean_y = fmean(x for x, _ in upper), fmean(y for _, y in upper)
    spread = sum((x - mean_x) ** 2 for x, _ in upper)
    return sum((x - mean_x) * (y - mean_y) for x, y in upper) / spread


def grows(power: float) -> bool:
    """Return whether a cost with this exponent grows with the quantity."""
    return power > CONSTANT_UP_TO


def in_words(power: float) -> str:
    """Say how a cost with this exponent goes with a quantity n."""
    if abs(power) <= CONSTANT_UP_TO:
        return "is constant"
    if power < 0:
        return f"falls like n^{power:.1f}"
    if abs(power - 1) <= LINEAR_WITHIN:
        return "is linear"
    return f"grows like n^{power:.1f}"
