"""What an operator sees of proxies with links between them."""

from tests.e2e.test_running import (  # noqa: F401
    pair,
    test_a_refusal_says_who_refused_in_which_phase_and_why,
    test_exchanges_are_counted_by_caller_service_outcome_and_cause,
    test_no_log_ever_holds_a_key,
    test_one_exchange_has_one_id_everywhere,
    test_what_does_not_end_within_the_grace_period_is_cut,
    test_what_is_in_flight_ends_well_when_the_proxies_are_told_to_stop,
)
