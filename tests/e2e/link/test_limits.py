from tests.e2e.test_limits import *  # noqa: F403
