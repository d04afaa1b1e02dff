"""Privileges, rates and deadlines hold over a link as they do over http."""

from tests.e2e.test_policies import *  # noqa: F403

# What becomes of a refusal is decided behind the opening, whatever the transport.
del test_report_lets_pass_and_counts  # noqa: F821
# The out proxy reads these before it knows where the request goes.
del test_a_deadline_that_is_no_number_is_refused  # noqa: F821
del test_what_is_past_its_deadline_is_not_sent  # noqa: F821
