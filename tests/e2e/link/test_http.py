from tests.e2e.test_http import *  # noqa: F403
