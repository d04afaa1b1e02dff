from tests.e2e.test_short_way import *  # noqa: F403
