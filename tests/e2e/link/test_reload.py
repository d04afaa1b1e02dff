"""A reload over links loses as little as one over http, and the links stay."""

from tests.e2e.test_reload import *  # noqa: F403
