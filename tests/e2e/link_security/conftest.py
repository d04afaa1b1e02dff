"""What the security tests of the link share: proxies that talk over links, and a path between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.link_security.proxies import Parties
from tests.e2e.link_security.wire import Wire


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A path between two proxies with somebody on it."""
    with Wire() as wire:
        yield wire


@pytest.fixture(scope="module")
def shared_wire() -> Iterator[Wire]:
    """The same, for a module."""
    with Wire() as wire:
        yield wire


@pytest.fixture(scope="module")
def shared_parties(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    """A maker of proxies and services whose things last for a module."""
    with ExitStack() as stack:
        yield Parties(stack, tmp_path_factory)


@pytest.fixture
def parties(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    """A maker of proxies and services whose things last for a test."""
    with ExitStack() as stack:
        yield Parties(stack, tmp_path_factory)
