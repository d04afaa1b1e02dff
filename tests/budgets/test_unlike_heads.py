"""What a request costs that has fields of its own, against one that comes again as it is."""

from __future__ import annotations

from functools import cache

import pytest

from tests.micro.counting import count_bytecodes
from tests.micro.unlike import alike, one_hop, unlike

HOPS = [(transport, role) for transport in ("link", "http") for role in ("out", "in")]


@cache
def bytecodes(transport: str, role: str, field_count: int, *, again: bool = False) -> float:
    """What a request with so many fields costs: one of its own, or one that comes again."""
    work = one_hop(transport, role, (alike if again else unlike)(field_count))
    try:
        return count_bytecodes(work)
    finally:
        work.close()


@pytest.mark.parametrize(("transport", "role"), HOPS)
def test_a_head_of_its_own_costs_little_more(transport: str, role: str) -> None:
    assert bytecodes(transport, role, 12) < 1.35 * bytecodes(transport, role, 12, again=True)


@pytest.mark.parametrize(("transport", "role"), HOPS)
def test_no_field_costs_a_step_of_its_own(transport: str, role: str) -> None:
    assert bytecodes(transport, role, 97) < bytecodes(transport, role, 12) + 20
