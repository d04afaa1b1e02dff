"""HTTP/1.1 passes over a link as it does over http, interim answers besides."""

from tests.e2e.test_http import *  # noqa: F403

del test_interim_answers_of_the_service_end_at_the_in_proxy  # noqa: F821  # see test_streaming
# Where the request goes is decided before it goes there, whatever the transport.
del test_a_fixed_service_gets_every_path  # noqa: F821
del test_a_service_that_nobody_configured_goes_to_the_default_or_is_refused  # noqa: F821
del test_a_unix_socket_admits_the_users_that_it_lists  # noqa: F821
