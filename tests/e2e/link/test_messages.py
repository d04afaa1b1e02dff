from tests.e2e.test_messages import *  # noqa: F403
