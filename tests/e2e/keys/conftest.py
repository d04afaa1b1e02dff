"""What the tests of changing keys share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.keys.scene import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A pair of proxies; in the end both must have gone well."""
    with ExitStack() as stack:
        yield Scene(tmp_path, stack)
