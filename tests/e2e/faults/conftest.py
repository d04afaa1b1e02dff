"""What tests of faults share: parties of their own making, beside the pairs of all end-to-end tests."""

from __future__ import annotations

from tests.e2e.link_security.conftest import shared_parties

__all__ = ["shared_parties"]
