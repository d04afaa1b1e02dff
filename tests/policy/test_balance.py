"""Turns are taken, and who failed stands back for a while."""

from collections import Counter

import pytest

from fastproxy.errors import NO_ENDPOINT, ProxyError
from fastproxy.model import Endpoint
from fastproxy.policy.balance import Balancer

A, B, C = (Endpoint(f"192.0.2.{n}", 80) for n in (1, 2, 3))


def turns(
    balancer: Balancer, endpoints: tuple[Endpoint, ...], count: int, now_s: float = 0.0
) -> Counter[Endpoint]:
    picked = (balancer.pick(endpoints, (), now_s) for _ in range(count))
    return Counter(endpoint for endpoint in picked if endpoint is not None)


def test_round_robin() -> None:
    assert turns(Balancer(), (A, B, C), 9) == {A: 3, B: 3, C: 3}


def test_endpoints_may_come_and_go_between_picks() -> None:
    balancer = Balancer()
    turns(balancer, (A, B, C), 2)
    assert turns(balancer, (A,), 3) == {A: 3}
    assert turns(balancer, (B, C), 4) == {B: 2, C: 2}


def test_those_who_take_turns_and_those_who_pick_share_one_order() -> None:
    balancer = Balancer()
    endpoints = (A, B, C)
    picked = [next(balancer.turns(endpoints)), balancer.pick(endpoints, (), 0.0)]
    assert [*picked, next(balancer.turns(endpoints)), balancer.pick(endpoints, (), 0.0)] == [A, B, C, A]


def test_a_turn_that_is_given_back_is_the_next_to_be_picked() -> None:
    balancer = Balancer()
    endpoints = (A, B, C)
    for endpoint in (A, B, C, A):
        balancer.give_back(next(balancer.turns(endpoints)))
        assert balancer.pick(endpoints, (), 0.0) == endpoint
    balancer.give_back(next(balancer.turns(endpoints)))
    assert balancer.pick(endpoints, (B,), 0.0) == C, "it was tried"
    balancer.mark_failing(A, 0.0)
    balancer.give_back(next(balancer.turns(endpoints)))
    assert balancer.pick(endpoints, (), 1.0) == B, "it is avoided"
    balancer.mark_failing(C, 3.0)
    assert [next(balancer.turns(endpoints)) for _ in range(2)] == [C, A]
    balancer.give_back(A)
    assert balancer.pick(endpoints, (), 6.0) == A, "it is avoided no longer, though another is"


def test_a_turn_that_is_given_back_ends_with_its_endpoints() -> None:
    balancer = Balancer()
    balancer.give_back(next(balancer.turns((A, B))))
    assert balancer.pick((B, C), (), 0.0) == B


def test_a_failing_endpoint_is_avoided_for_a_while() -> None:
    balancer = Balancer(avoid_s=5.0)
    balancer.mark_failing(B, 10.0)
    assert turns(balancer, (A, B, C), 30, 14.9)[B] == 0
    assert turns(balancer, (A, B, C), 30, 15.0)[B] == 10


def test_an_endpoint_recovers_while_another_is_still_failing() -> None:
    balancer = Balancer(avoid_s=5.0)
    balancer.mark_failing(A, 10.0)
    balancer.mark_failing(B, 13.0)
    assert set(turns(balancer, (A, B, C), 30, 16.0)) == {A, C}


def test_an_endpoint_that_works_again_is_back_at_once() -> None:
    balancer = Balancer()
    balancer.mark_failing(A, 0.0)
    balancer.mark_working(A)
    assert turns(balancer, (A, B), 4, 1.0) == {A: 2, B: 2}


def test_an_endpoint_that_leaves_is_avoided_though_it_answers() -> None:
    balancer, both = Balancer(avoid_s=5.0), (A, B)
    balancer.mark_leaving(A, 0.0)
    balancer.mark_working(A)
    assert {balancer.pick(both, (), 4.9) for _ in range(4)} == {B}
    assert balancer.pick((A,), (), 4.9) == A
    assert {balancer.pick(both, (), 5.0) for _ in range(4)} == {A, B}
    balancer.mark_failing(A, 6.0)  # another time, it is like any other
    balancer.mark_working(A)
    assert {balancer.pick(both, (), 6.1) for _ in range(4)} == {A, B}


def test_failing_endpoints_are_used_when_there_are_no_others() -> None:
    balancer = Balancer()
    for endpoint in (A, B):
        balancer.mark_failing(endpoint, 0.0)
    assert balancer.pick((A, B), (), 1.0) in (A, B)
    assert balancer.pick((A, B), (A,), 1.0) == B


def test_what_was_tried_is_not_picked_again() -> None:
    balancer = Balancer()
    tried: list[Endpoint] = []
    while (endpoint := balancer.pick((A, B, C), tried, 0.0)) is not None:
        balancer.mark_failing(endpoint, 0.0)
        tried.append(endpoint)
    assert sorted(tried, key=str) == [A, B, C]


def test_untried_and_working_comes_before_untried_and_failing() -> None:
    balancer = Balancer()
    balancer.mark_failing(A, 0.0)
    assert {balancer.pick((A, B, C), (C,), 1.0) for _ in range(6)} == {B}


def test_no_endpoint_at_all() -> None:
    with pytest.raises(ProxyError) as refusal:
        Balancer().pick((), (), 0.0)
    assert refusal.value.cause is NO_ENDPOINT


def test_failing_endpoints_remembered_are_bounded() -> None:
    balancer = Balancer(avoid_s=1e9, failing_limit=10)
    many = [Endpoint(f"host{n}", 80) for n in range(1000)]
    for endpoint in many:
        balancer.mark_failing(endpoint, 0.0)
    avoided = [endpoint for endpoint in many if balancer.pick((endpoint, A), (A,), 1.0) == endpoint]
    assert len(avoided) == 1000  # the only choice left
    preferred = sum(turns(balancer, (endpoint, A), 2, 1.0)[endpoint] for endpoint in many)
    assert preferred == 990  # the ten that failed last are still avoided
