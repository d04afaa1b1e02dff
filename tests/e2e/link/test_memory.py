"""What passes over a link does not stay there: large bodies in both directions cost little memory."""

from tests.e2e.test_memory import *  # noqa: F403
