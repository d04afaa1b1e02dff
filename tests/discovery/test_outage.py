"""Pauses double up to their bound, and only the first failure and the end of an outage are told."""

from fastproxy.discovery.outage import Outage


def test_pauses_double_up_to_the_longest() -> None:
    outage = Outage(0.5, 5.0)
    pauses_s = []
    for _ in range(6):
        outage.note_failure()
        pauses_s.append(outage.pause_s)
    assert pauses_s == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_its_beginning_and_its_end_are_told_once() -> None:
    outage = Outage(1.0, 30.0)
    assert not outage.note_answer()
    assert [outage.note_failure() for _ in range(3)] == [True, False, False]
    assert outage.is_on
    assert [outage.note_answer() for _ in range(2)] == [True, False]
    assert not outage.is_on
    assert outage.note_failure()
    assert outage.pause_s == 1.0, "the next one begins anew"


def test_an_outage_of_days_overflows_nothing() -> None:
    outage = Outage(1.0, 30.0)
    for _ in range(100_000):
        outage.note_failure()
    assert outage.pause_s == 30.0
