"""What of a center's answers holds, and when; no loop, no clock."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.discovery.center_belief import ANSWER_LIMIT_BYTES, Belief, Told, read_answer
from fastproxy.model import Endpoint

CONFIRM_S = 60.0


def told(version: int, *numbers: int) -> Told:
    return Told(version, tuple(Endpoint(f"192.0.2.{number}", 80) for number in numbers), 0)


def believed(belief: Belief) -> list[int]:
    return [int(endpoint.host.rpartition(".")[2]) for endpoint in belief.endpoints]


def believing(*numbers: int, version: int = 10) -> Belief:
    belief = Belief(CONFIRM_S)
    belief.consider(told(version, *numbers), 0.0)
    return belief


def test_the_first_answer_holds_whatever_it_is() -> None:
    assert believed(believing(1, 2)) == [1, 2]
    assert believed(believing()) == []
    belief = believing()
    assert belief.consider(told(3, 1), 1.0), "nothing is lost by believing in more than nothing"
    assert believed(belief) == [1]


def test_higher_versions_hold_at_once() -> None:
    belief = believing(1, 2)
    assert belief.consider(told(11, 2), 1.0)
    assert belief.consider(told(12, 3), 1.0)
    assert believed(belief) == [3]


@pytest.mark.parametrize("doubtful", [told(11), told(9, 7), told(10, 7), told(0)], ids=repr)
def test_doubtful_answers_hold_when_they_are_insisted_on(doubtful: Told) -> None:
    belief = believing(1, 2)
    assert not belief.consider(doubtful, 100.0)
    assert belief.told_version == doubtful.version
    assert belief.doubt_ends_in_s(130.0) == 30.0
    assert not belief.consider(doubtful, 159.9)
    assert believed(belief) == [1, 2]
    assert belief.consider(doubtful, 160.0)
    assert belief.endpoints == doubtful.endpoints
    assert belief.doubt_ends_in_s(160.0) is None


def test_the_last_word_of_a_center_that_fills_up_again_holds() -> None:
    belief = believing(1, 2, 3)
    for now_s, answer in ((0.0, told(1)), (5.0, told(2, 1)), (10.0, told(3, 1, 2)), (59.0, told(3, 1, 2))):
        assert not belief.consider(answer, now_s)
        assert believed(belief) == [1, 2, 3]
    assert belief.consider(told(3, 1, 2), 60.0)
    assert believed(belief) == [1, 2]
    assert belief.consider(told(4, 2), 61.0), "from here on its versions count"


def test_a_center_that_has_all_again_is_believed_at_once() -> None:
    belief = believing(1, 2)
    belief.consider(told(1), 0.0)
    assert belief.consider(told(3, 2, 1), 5.0)
    assert belief.doubt_ends_in_s(5.0) is None


def test_an_interruption_or_a_sound_answer_begins_the_doubt_anew() -> None:
    belief = believing(1)
    belief.consider(told(11), 0.0)
    belief.interrupt()
    assert not belief.consider(told(11), 60.0)
    assert belief.consider(told(12, 1), 70.0)
    assert not belief.consider(told(13), 120.0)
    assert believed(belief) == [1]


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 4), st.sets(st.integers(1, 3), max_size=2))))
def test_what_is_known_is_never_lost_in_less_than_the_time_of_confirmation(
    answers: list[tuple[float, int, set[int]]],
) -> None:
    belief = Belief(CONFIRM_S)
    now_s = doubt_began_s = 0.0
    for pause_s, version, numbers in answers:
        now_s += pause_s
        had_endpoints = bool(belief.endpoints)
        if belief.doubt_ends_in_s(now_s) is None:
            doubt_began_s = now_s
        belief.consider(told(version, *sorted(numbers)), now_s)
        if had_endpoints and not belief.endpoints:
            assert now_s - doubt_began_s >= CONFIRM_S


# --- reading ------------------------------------------------------------------------------------------------


def answer(*addresses: str, name: str = "song", version: object = 7) -> bytes:
    endpoints = [{"address": address} for address in addresses]
    return msgspec.json.encode({"name": name, "version": version, "endpoints": endpoints})


def test_endpoints_are_read_once_each() -> None:
    read = read_answer(answer("192.0.2.1:80", "[2001:DB8::1]:8080", "192.0.2.1:080"), "song")
    assert read == Told(
        7,
        (Endpoint("192.0.2.1", 80, "192.0.2.1:80"), Endpoint("2001:db8::1", 8080, "[2001:db8::1]:8080")),
        0,
    )


@pytest.mark.parametrize(
    "address",
    [
        "api.example:80", "unix:/run/x.sock", "192.0.2.1", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:+80",
        "2001:db8::1:80", "[192.0.2.1]:80", "[fe80::1%eth0]:80", "0.0.0.0:80", "[::]:80", "224.0.0.1:80",
        "127.1:80", "", ":80", "192.0.2.1:٨٠", "\r\n:80",
    ],
)  # fmt: skip
def test_what_nobody_can_connect_to_is_passed_over(address: str) -> None:
    read = read_answer(answer("192.0.2.1:80", address), "song")
    assert [endpoint.host for endpoint in read.endpoints] == ["192.0.2.1"]
    assert read.passed_over == 1


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"null", b"<html>", b"\xff", b'{"name": "song"}', b"[" * 100_000,
        answer(name="chat"), answer(version=-1), answer(version="7"), answer(version=1.5),
        answer(version=10**18), answer(version=2**63), answer(version=10**400),
        answer(*(f"192.0.2.{number % 250}:{number + 1}" for number in range(257))),
        answer("1" * 260), b'{"name":"song","version":1,"endpoints":[{"address":1}]}',
        answer() + b"{}", answer() + b" " * ANSWER_LIMIT_BYTES,
    ],
    ids=lambda content: content[:30],
)  # fmt: skip
def test_garbage_is_no_answer(content: bytes) -> None:
    with pytest.raises(ValueError, match="the answer"):
        read_answer(content, "song")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError, match="the answer"):
        read_answer(content, "song")
