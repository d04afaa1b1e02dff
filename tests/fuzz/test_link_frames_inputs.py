"""A short run of the fuzz target of frames, without a guide; long enough plays to reach far states."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.link_frames_inputs import WAYS, take


@pytest.mark.parametrize("way", range(len(WAYS)), ids=[way.__name__ for way in WAYS])
@given(data=st.binary(max_size=600))
@settings(max_examples=100, deadline=None)
def test_frames_in_any_order_end_in_a_link_in_order_or_an_ended_one(way: int, data: bytes) -> None:
    take(bytes((way,)) + data)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", range(len(WAYS)), ids=[way.__name__ for way in WAYS])
@given(data=st.binary(max_size=2000))
@settings(max_examples=20_000, deadline=None)
def test_many_more_of_them(way: int, data: bytes) -> None:
    take(bytes((way,)) + data)
