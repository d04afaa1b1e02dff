"""Contents of every size and framing arrive over a link as they do over http."""

from tests.e2e.test_messages import *  # noqa: F403

del test_a_change_of_protocol_is_refused_over_http  # noqa: F821  # see test_tunnels
