"""Faults of whoever sends a request: it is not well-formed, too much, or doesn't come."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.client import Answer, Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.faults.fault import IN, OUT, TELLING, Fault, Scene, check
from tests.e2e.services import answering, sized

LIMITS = {
    "header_bytes": 4096,
    "header_count": 20,
    "target_bytes": 200,
    "body_bytes": 1000,
    "header_timeout_s": 0.5,
    "body_timeout_s": 0.5,
}


def saying(*pieces: bytes) -> Callable[[Scene], Answer]:
    """What sends these bytes to the out proxy."""

    def inject(scene: Scene) -> Answer:
        with Client(scene.out.listen) as client:
            for piece in pieces:
                client.send(piece)
            return client.answer()

    return inject


def head(*lines: str) -> bytes:
    """A head that has these lines."""
    return "\r\n".join([*lines, "", ""]).encode()


FAULTS = [
    Fault(
        name="two Host fields",
        inject=saying(head("GET /api/ HTTP/1.1", "Host: a", "Host: b")),
        cause="malformed_request", hop=OUT, phase="read",
    ),
    Fault(
        name="an encoded slash in the path",
        inject=saying(request_bytes("GET", "/api/a%2Fb")),
        cause="ambiguous_path", hop=IN, phase="read",
    ),
    Fault(
        name="a header section that doesn't end",
        inject=saying(b"GET /api/ HTTP/1.1\r\nHost: x\r\n"),
        cause="header_timeout", hop=OUT, phase="read", numbers={"header_timeout_s": 0.5},
    ),
    Fault(
        name="a body that stops coming",
        inject=saying(request_bytes("POST", "/api/", headers=["Content-Length: 100"]), b"half"),
        cause="body_timeout", hop=OUT, phase="read", numbers={"body_timeout_s": 0.5},
    ),
    Fault(
        name="a body over the limit",
        inject=saying(request_bytes("POST", "/api/", headers=["Content-Length: 1001"])),
        cause="body_too_large", hop=OUT, phase="read", numbers={"limit_bytes": 1000, "bytes": 1001},
    ),
    Fault(
        name="a target over the limit",
        inject=saying(request_bytes("GET", "/api/" + "a" * 200)),
        cause="target_too_long", hop=OUT, phase="read", numbers={"limit_bytes": 200},
    ),
    Fault(
        name="a header section over the limit",
        inject=saying(request_bytes("GET", "/api/", headers=["X: " + "a" * 5000])),
        cause="headers_too_large", hop=OUT, phase="read", numbers={"limit_bytes": 4096},
    ),
    Fault(
        name="more header fields than the limit",
        inject=saying(request_bytes("GET", "/api/", headers=["X: a"] * 20)),
        cause="too_many_headers", hop=OUT, phase="read", numbers={"limit": 20},
    ),
    Fault(
        name="an expectation that nobody knows",
        inject=saying(request_bytes("GET", "/api/", headers=["Expect: a-miracle"])),
        cause="expectation_unknown", hop=OUT, phase="read",
    ),
    Fault(
        name="a method that can't be proxied",
        inject=saying(request_bytes("TRACE", "/api/")),
        cause="method_unsupported", hop=OUT, phase="read", detail="TRACE",
    ),
    Fault(
        name="a WebSocket over http",
        inject=saying(
            request_bytes(
                "GET", "/api/",
                headers=[
                    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                ],
            )
        ),
        cause="upgrade_unsupported", hop=OUT, phase="read",
    ),
    Fault(
        name="another version of HTTP",
        inject=saying(b"GET /api/ HTTP/3.0\r\nHost: x\r\n\r\n"),
        cause="version_unsupported", hop=OUT, phase="read",
    ),
    Fault(
        name="a service that nobody knows",
        inject=saying(request_bytes("GET", "/nobody/")),
        cause="service_unknown", hop=OUT, phase="route",
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def scene(make_shared: Maker) -> Scene:
    """A pair whose out proxy grants little, and doesn't wait long."""
    service = make_shared.service(answering(sized(b"fine")))
    pair = make_shared.pair({"api": [service.endpoint]}, out=TELLING | {"limits": LIMITS}, inner=TELLING)
    return Scene(pair.out, pair.inner)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_of_a_request_is_told_for_what_it_is(scene: Scene, fault: Fault) -> None:
    check(fault, scene)
