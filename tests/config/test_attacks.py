"""Settings that would let a peer bring a proxy into a state it can't answer from."""

from __future__ import annotations

from typing import get_args, get_type_hints

from fastproxy.config.schema_parts import Limits
from fastproxy.wire.records import MAX_META_BYTES


def test_no_head_within_the_limits_is_too_large_for_a_record() -> None:
    """A head of one record holds what came, and what the hop adds: Via, Forwarded, the names."""
    bound = get_args(get_type_hints(Limits, include_extras=True)["header_bytes"])[1].le
    assert bound + 32_768 <= MAX_META_BYTES
