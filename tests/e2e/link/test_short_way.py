"""Calls on the short way over a link, while what was decided on them stops being so."""

from tests.e2e.test_short_way import (  # noqa: F401
    test_a_service_dies_under_a_call,
    test_a_service_is_silent_and_the_callers_connection_serves_on,
    test_an_in_proxy_restarts_and_every_call_is_answered_and_logged_once,
)
