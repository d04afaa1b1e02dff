"""Operating proxies under load loses no request: counted, and each looked for at the service.

The long form does it as often as it is to be shown; what a run of it counted stands in docs/operations.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.operations import figures
from tests.e2e.operations.scenarios import FULL, RATE_PER_S, SCENARIOS, Outcome, restarts, stops
from tests.e2e.operations.stage import Scale

LIMIT_S = 7200
SHORT = {"reloads": 11, "keys": 1, "certificates": 3, "upgrades": 2, "kills": 2}


def assert_lossless(outcome: Outcome) -> None:
    """Nothing failed that needn't have; printed for whoever wants the figures (`pytest -s`)."""
    row = outcome.row
    print(figures.line(row))
    assert outcome.unexplained == []
    assert (row.doubled, row.missing) == (0, 0)


@pytest.mark.parametrize("name", SHORT)
def test_no_request_is_lost(tmp_path: Path, name: str) -> None:
    assert_lossless(SCENARIOS[name](tmp_path, Scale(SHORT[name], 300, 170)))


def test_no_request_is_lost_at_an_end_that_they_outlast(tmp_path: Path) -> None:
    assert_lossless(stops(tmp_path, Scale(2, 300, 170), 2))


def test_no_request_is_lost_to_a_receiver_that_comes_back_with_another_epoch(tmp_path: Path) -> None:
    assert_lossless(restarts(tmp_path, Scale(2, 300, 170), 2))


@pytest.mark.long
@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("name", FULL)
def test_no_request_is_lost_however_often(tmp_path: Path, name: str) -> None:
    assert_lossless(SCENARIOS[name](tmp_path, Scale(FULL[name], RATE_PER_S, LIMIT_S)))
