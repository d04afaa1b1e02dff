from tests.e2e.test_bad_services import *  # noqa: F403
