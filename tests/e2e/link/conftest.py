"""What the end-to-end tests over links share: pairs of proxies with a link between them.

The makers are those of `tests.e2e.conftest`, with `transport: link` laid under whatever a test sets, so that
tests written for another transport run here as they stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

import pytest

from tests.e2e.conftest import Maker
from tests.e2e.proxies import Config, Pair, ProxyProcess, merged
from tests.e2e.relay import Relay

OVER_LINK: Config = {"defaults": {"transport": "link"}}
LINKS_ONLY: Config = {"listen": {"accept": ["link"]}}


class LinkMaker(Maker):
    """Starts proxies that talk over links and in no other way."""

    def pair(
        self,
        services: Mapping[str, Sequence[str]],
        *,
        out: Config | None = None,
        inner: Config | None = None,
        relay: Relay | None = None,
        inner_first: str = "true",
    ) -> Pair:
        """Start a pair of proxies; see `Maker.pair`."""
        return super().pair(
            services,
            out=_laid_over(OVER_LINK, out),
            inner=_laid_over(LINKS_ONLY, inner),
            relay=relay,
            inner_first=inner_first,
        )

    def in_proxy(self, services: Mapping[str, Sequence[str]], changes: Config) -> ProxyProcess:
        """Start an in proxy alone; see `Maker.in_proxy`."""
        return super().in_proxy(services, _laid_over(LINKS_ONLY, changes))


def _laid_over(settings: Config, changes: Config | None) -> Config:
    """Lay changes over settings; a setting that they take out stays to be taken out."""
    changes = changes or {}
    return merged(settings, changes) | {name: None for name, value in changes.items() if value is None}


@pytest.fixture(scope="module")
def make_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    """A maker whose things last for a module."""
    with ExitStack() as stack:
        yield LinkMaker(stack, tmp_path_factory)


@pytest.fixture
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    """A maker whose things last for a test."""
    with ExitStack() as stack:
        yield LinkMaker(stack, tmp_path_factory)
