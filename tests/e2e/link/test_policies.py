"""Privileges, rates and deadlines hold over a link as they do over http."""

from tests.e2e.test_policies import *  # noqa: F403
