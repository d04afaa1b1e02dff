"""What a request costs that has fields of its own, against one that comes again as it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.micro.counting import count
from tests.micro.unlike import alike, one_hop, unlike

HOPS = [(transport, role) for transport in ("link", "http") for role in ("out", "in")]


def bytecodes(transport: str, role: str, request: Callable[[], bytes]) -> float:
    work = one_hop(transport, role, request)
    try:
        return count(work).bytecodes
    finally:
        work.close()


@pytest.mark.parametrize(("transport", "role"), HOPS)
def test_a_head_of_its_own_costs_little_more(transport: str, role: str) -> None:
    again, own = (bytecodes(transport, role, kind(12)) for kind in (alike, unlike))
    assert own < 1.35 * again


@pytest.mark.parametrize(("transport", "role"), HOPS)
def test_no_field_costs_a_step_of_its_own(transport: str, role: str) -> None:
    few, many = (bytecodes(transport, role, unlike(field_count)) for field_count in (12, 97))
    assert many < few + 20
