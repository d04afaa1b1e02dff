"""Limits that a link has a part in hold over one as they do over http."""

from tests.e2e.test_limits import (  # noqa: F401
    echo_service,
    hasty,
    pair,
    test_a_body_at_the_limit_passes,
    test_a_body_that_stops_coming_is_given_up,
    test_a_caller_that_vanishes_inside_its_body_leaves_nothing_open,
    test_a_large_chunked_body_is_refused_when_it_has_come_too_far,
    test_a_large_sized_body_is_refused_before_it_comes,
    test_a_reset_in_the_middle_of_everything_leaves_nothing_open,
    test_a_slow_reader_costs_little_memory_and_is_given_up,
    test_a_slow_service_makes_its_caller_wait_and_costs_little_memory,
    test_exchanges_in_flight_are_limited,
)
