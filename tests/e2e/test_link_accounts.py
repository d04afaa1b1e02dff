"""What a caller and the access log are told of calls over a link."""

from __future__ import annotations

from tests.e2e.conftest import Maker
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import key_of

OVER_LINK = {"defaults": {"transport": "link"}}


def test_whoever_never_got_a_link_is_refused_every_time_and_never_kept_waiting(
    make: Maker, nginx: Nginx
) -> None:
    stranger = {"callers": {"web": {"public_keys": [key_of("somebody else").public_key.hex()]}}}
    # A call that waited for the receiver to return would wait for longer than its own time.
    out = {"defaults": {"transport": "link", "timeout_s": 5}, "link": {"wait_s": 60}}
    pair = make.pair({"web": [nginx.endpoint]}, out=out, inner=stranger)
    answers = [pair.fetch("GET", "/web/hello") for _ in range(5)]  # the pause after a failure grows
    assert [(answer.status, answer.cause) for answer in answers] == [(502, "link_refused")] * 5


def test_content_is_counted_on_the_first_call_of_its_kind_as_on_those_after_it(
    make: Maker, nginx: Nginx
) -> None:
    pair = make.pair({"web": [nginx.endpoint]}, out=OVER_LINK)
    for _ in range(3):
        answer = pair.fetch("POST", "/web/hello", b"12345")
        assert pair.inner.access.wait_for(id=answer.exchange)["bytes_in"] == 5
