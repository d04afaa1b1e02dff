from tests.e2e.test_policies import *  # noqa: F403
