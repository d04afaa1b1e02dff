"""One browser for all tests of the dashboard, and doubles to look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.admin.dashboard.double import playing
from tests.admin.dashboard.played import Played
from tests.admin.dashboard.scenes import failing, healthy
from tests.browser import browser as started_browser


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One for all; it ends with the package, since the thread has its event loop until then."""
    with started_browser() as browser:
        yield browser


@pytest.fixture
def well() -> Iterator[tuple[Played, str]]:
    """A pair that is well, and where it is."""
    played = healthy()
    with playing(played) as url:
        yield played, url


@pytest.fixture
def ill() -> Iterator[tuple[Played, str]]:
    """A pair of which much fails, and where it is."""
    played = failing()
    with playing(played) as url:
        yield played, url
