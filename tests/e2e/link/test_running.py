from tests.e2e.test_running import *  # noqa: F403
