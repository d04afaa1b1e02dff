"""What passes over a link does not stay there: large bodies in both directions cost little memory."""

import pytest

from tests.e2e.test_memory import (  # noqa: F401
    pair,
    test_a_large_download_passes_in_little_memory,
    test_a_large_upload_passes_in_little_memory,
    test_memory_comes_back_when_a_load_is_over,
    test_uploads_that_are_broken_off_leave_nothing,
)


@pytest.fixture
def size_mib() -> int:
    """Size of a large body: a gibibyte."""
    return 1024
