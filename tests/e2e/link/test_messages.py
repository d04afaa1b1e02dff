"""Contents of every size and framing arrive over a link as they do over http; test_streaming has more."""

from tests.e2e.test_messages import *  # noqa: F403

del test_a_change_of_protocol_is_refused_over_http  # noqa: F821  # see test_tunnels
del test_each_piece_is_echoed_before_the_next_is_sent  # noqa: F821  # see test_streaming
del test_events_arrive_one_by_one  # noqa: F821  # see test_streaming
# What is said before a call begins, or besides, is said between the caller and its own proxy.
del test_a_refused_request_is_answered_without_100  # noqa: F821
del test_connection_close_is_kept  # noqa: F821
del test_other_expectations_are_refused  # noqa: F821
