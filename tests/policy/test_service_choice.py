"""Every way to name a service."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import SERVICE_UNKNOWN, ProxyError
from fastproxy.policy.service_choice import ServiceChoice, ServiceFrom

SERVICES = ("search", "Token_Service")


@pytest.mark.parametrize(
    ("service_from", "fallback", "target", "host", "absolute", "chosen"),
    [
        ("path", "", b"/search/a/b?c=/d", b"x:1", False, ("search", b"/a/b?c=/d")),
        ("path", "", b"/search", b"x:1", False, ("search", b"/")),
        ("path", "", b"/search/", b"x:1", False, ("search", b"/")),
        ("path", "", b"/search?a=/b", b"x:1", False, ("search", b"/?a=/b")),
        ("path", "", b"/search?a=b", b"x:1", False, ("search", b"/?a=b")),
        ("path", "", b"/search//a", b"x:1", False, ("search", b"//a")),
        ("path", "", b"/Search/a", b"x:1", False, None),
        ("path", "", b"/%73earch/a", b"search", False, None),
        ("path", "", b"/", b"search", False, None),
        ("path", "", b"*", b"search", False, None),
        ("path", "search", b"/other/a", b"x:1", False, ("search", b"/other/a")),
        ("path", "search", b"*", b"x:1", False, ("search", b"*")),
        ("path", "", b"/search/a", b"token_service:80", True, ("Token_Service", b"/search/a")),
        ("host", "", b"/search/a", b"TOKEN_SERVICE", False, ("Token_Service", b"/search/a")),
        ("host", "", b"/a", b"search:8080", False, ("search", b"/a")),
        ("host", "", b"/a", b"search.", False, None),
        ("host", "", b"/a", b"", False, None),
        ("host", "search", b"/a", b"", False, ("search", b"/a")),
        ("fixed", "search", b"/Token_Service/a", b"Token_Service", False, ("search", b"/Token_Service/a")),
        ("fixed", "search", b"/a", b"Token_Service", True, ("Token_Service", b"/a")),
        ("fixed", "search", b"/a", b"elsewhere:80", True, ("search", b"/a")),
        ("path", "search", b"/Token_Service/a", b"elsewhere", True, ("search", b"/Token_Service/a")),
        ("host", "", b"/a", b"[::1]:80", False, None),
    ],
)
def test_choice(
    service_from: ServiceFrom,
    fallback: str,
    target: bytes,
    host: bytes,
    absolute: bool,
    chosen: tuple[str, bytes] | None,
) -> None:
    choice = ServiceChoice(service_from, SERVICES, fallback)
    if chosen is not None:
        assert choice.choose(target, host, absolute) == chosen
        return
    with pytest.raises(ProxyError) as caught:
        choice.choose(target, host, absolute)
    assert caught.value.cause is SERVICE_UNKNOWN


@given(rest=st.binary(max_size=20), host=st.binary(max_size=10), absolute=st.booleans())
def test_what_is_sent_on_always_is_a_target(rest: bytes, host: bytes, absolute: bool) -> None:
    choice = ServiceChoice("path", SERVICES, "search")
    _, target = choice.choose(b"/" + rest, host, absolute)
    assert target.startswith(b"/")
