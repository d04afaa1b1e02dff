"""Which public keys are usable: what the curve itself says, without asking it."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.config.keys import is_usable_public_key

PRIME = 2**255 - 19
ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)


def agrees_with_anyone(coordinate: int) -> bool:
    """Whether an exchange with the key has a result other than zero (RFC 7748, section 6.1)."""
    public_key = X25519PublicKey.from_public_bytes(coordinate.to_bytes(32, "little"))
    try:
        X25519PrivateKey.from_private_bytes(b"\x01" * 32).exchange(public_key)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("coordinate", [0, 1, *ORDER_8, PRIME - 1])
def test_points_of_low_order_are_not(coordinate: int) -> None:
    assert not agrees_with_anyone(coordinate)
    assert not is_usable_public_key(coordinate.to_bytes(32, "little"))


@given(
    st.integers(0, PRIME - 1)
    | st.integers(0, 50)
    | st.integers(PRIME - 50, PRIME - 1)
    | st.sampled_from(ORDER_8).flatmap(lambda point: st.integers(point - 5, point + 5))
)
def test_all_others_are_judged_as_the_curve_judges_them(coordinate: int) -> None:
    assert is_usable_public_key(coordinate.to_bytes(32, "little")) == agrees_with_anyone(coordinate)


@given(st.integers(PRIME, 2**256 - 1))
def test_a_second_spelling_is_not(coordinate: int) -> None:
    assert not is_usable_public_key(coordinate.to_bytes(32, "little"))
