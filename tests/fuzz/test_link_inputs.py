"""A short run of the fuzz targets of the link, without a guide."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.link_inputs import WAYS, take


@pytest.mark.parametrize("way", range(len(WAYS)), ids=[way.__name__ for way in WAYS])
@given(data=st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_an_input_ends_in_a_valid_result_or_a_link_error(way: int, data: bytes) -> None:
    take(bytes((way,)) + data)


def test_no_input_is_one_too() -> None:
    take(b"")
