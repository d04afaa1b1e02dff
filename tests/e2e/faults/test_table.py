"""The tables of faults as one: enough of them, and each with a cause that no other has."""

from __future__ import annotations

from collections import Counter

from fastproxy.errors import TABLE
from tests.e2e.faults import (
    test_connecting,
    test_deciding,
    test_proving,
    test_reading,
    test_room,
    test_sealing,
    test_waiting,
)
from tests.e2e.faults.fault import Fault

FAULTS: list[Fault] = [
    *test_reading.FAULTS,
    *test_proving.FAULTS,
    test_proving.SKEWED,
    *test_sealing.FAULTS,
    *test_deciding.FAULTS,
    *test_connecting.FAULTS,
    test_connecting.UNRESOLVED,
    *test_waiting.FAULTS,
    *test_room.FAULTS,
]


def test_there_are_thirty_faults_and_more_with_as_many_causes() -> None:
    assert len(FAULTS) >= 30
    assert len({fault.cause for fault in FAULTS}) >= 30
    assert {fault.cause for fault in FAULTS} <= TABLE.keys()


def test_no_two_faults_are_told_in_the_same_way() -> None:
    told = Counter(fault.key for fault in FAULTS)
    assert [key for key, count in told.items() if count > 1] == []
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
