"""Services that answer garbage, half or nothing are told of over a link as they are over http."""

from tests.e2e.test_bad_services import (  # noqa: F401
    others_unharmed,
    pair,
    refusing,
    services,
    test_a_connection_lost_before_the_answer_is_told,
    test_a_header_section_over_the_limit_is_refused,
    test_a_request_lost_on_a_kept_connection_is_repeated_only_if_that_does_no_harm,
    test_a_service_that_closes_at_once_is_told,
    test_an_answer_that_breaks_off_never_looks_whole,
    test_an_early_answer_ends_a_connection_that_still_expects_content,
    test_an_early_refusal_reaches_the_caller_while_it_sends,
    test_garbage_never_reaches_the_caller,
    test_the_next_endpoint_is_tried_when_one_refuses,
    test_when_all_endpoints_refuse_the_address_is_named,
)
