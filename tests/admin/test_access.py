"""Who may see what reveals: sockets, tokens, openness, and never a web page's doing."""

from __future__ import annotations

import base64

import pytest

from fastproxy.admin.access import CHANGING, FIELDS, PROFILES, READING, Access
from fastproxy.admin.answers import AdminError
from fastproxy.net.http1 import HeadLimits, HeadParser

TOKEN = "a-token-of-16-chars"
BEARER = f"Authorization: Bearer {TOKEN}"


def basic(user: str, password: str) -> str:
    return f"Authorization: Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def refusal(access: Access, *lines: str, host: str = "127.0.0.1:9090", need: str = PROFILES) -> int:
    """Ask; return the status of the refusal, 0 for none."""
    parser = HeadParser(HeadLimits(), FIELDS)
    text = "\r\n".join((f"GET /debug/pprof/ HTTP/1.1\r\nHost: {host}", *lines, "", ""))
    try:
        access.check(parser.request(text.encode())[0], need)
    except AdminError as error:
        return 999 if TOKEN in error.words else error.status
    return 0


def reached_by(access: Access, host: str) -> bool:
    """Whether who reaches the listener may have what everybody may, by this name."""
    text = f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n"
    try:
        access.check_name(HeadParser(HeadLimits(), FIELDS).request(text.encode())[0])
    except AdminError:
        return False
    return True


WITH_TOKEN = Access("127.0.0.1", is_unix=False, token=TOKEN.encode())
CLOSED = Access("127.0.0.1", is_unix=False, token=None)
OPEN = Access("127.0.0.1", is_unix=False, token=None, open_to_all=[PROFILES])
UNIX = Access("/run/admin.sock", is_unix=True, token=None)


@pytest.mark.parametrize(
    "line", [BEARER, BEARER.replace("Bearer", "bearer"), basic("x", TOKEN), basic("", TOKEN)]
)
def test_the_token_lets_in(line: str) -> None:
    assert refusal(WITH_TOKEN, line) == 0


@pytest.mark.parametrize(
    "line",
    [
        "X: y",
        f"{BEARER}x",
        BEARER[:-1],
        "Authorization: Bearer",
        f"Authorization: {TOKEN}",
        f"Authorization: Digest {TOKEN}",
        f"{BEARER}, Bearer {TOKEN}",
        basic(TOKEN, "x"),
        basic("x", TOKEN + "x"),
        "Authorization: Basic !",
        "Authorization: Basic QQ",
        f"Authorization: Basic {TOKEN}",
    ],
)
def test_nothing_else_does(line: str) -> None:
    assert refusal(WITH_TOKEN, line) == 401


def test_without_a_token_in_the_config_none_lets_in() -> None:
    for line in (BEARER, basic("", ""), "Authorization: Bearer "):
        assert refusal(CLOSED, line) == 403


def test_the_refusal_says_what_to_do() -> None:
    parser = HeadParser(HeadLimits(), FIELDS)
    head = parser.request(b"GET /debug/fgprof HTTP/1.1\r\nHost: localhost\r\n\r\n")[0]
    with pytest.raises(AdminError) as caught:
        CLOSED.check(head, PROFILES)
    for setting in ("admin.address: unix:", "admin.token", "admin.open: [profiles]"):
        assert setting in caught.value.words


def test_open_and_unix_need_none() -> None:
    assert refusal(OPEN) == 0
    assert refusal(UNIX, host="localhost") == 0


def test_a_request_without_a_host_is_honest_on_a_unix_socket_only() -> None:
    head = HeadParser(HeadLimits(), FIELDS).request(b"GET /debug/fgprof HTTP/1.0\r\n\r\n")[0]
    UNIX.check(head, PROFILES)
    with pytest.raises(AdminError):
        OPEN.check(head, PROFILES)


@pytest.mark.parametrize("access", [OPEN, WITH_TOKEN, UNIX])
@pytest.mark.parametrize(
    "host", ["127.0.0.1:9090", "127.0.0.2", "LOCALHOST:1", "[::1]:9090", "[::ffff:127.0.0.1]:9090"]
)
def test_loopback_addresses_and_localhost_are_no_names_that_could_be_rebound(
    access: Access, host: str
) -> None:
    assert refusal(access, BEARER, host=host) == 0


@pytest.mark.parametrize(
    ("host", "with_token"),
    [("10.0.0.1", 0), ("[fd00::1]:9090", 0), ("0.0.0.0:9090", 403), ("[::]", 403), ("[::ffff:0.0.0.0]", 403)],
)
def test_pages_reach_nothing_open_by_addresses_of_which_browsers_tell_no_origin(
    host: str, with_token: int
) -> None:
    """A token isn't a page's to send, so that addresses of the network are good enough with one."""
    assert refusal(OPEN, host=host) == 403
    assert refusal(WITH_TOKEN, BEARER, host=host) == with_token


@pytest.mark.parametrize("access", [OPEN, WITH_TOKEN, CLOSED, UNIX])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:9090", "localhost.evil.example"])
def test_another_name_is_refused(access: Access, host: str) -> None:
    assert refusal(access, BEARER, host=host) == 403


def test_the_listeners_own_name_is_known() -> None:
    access = Access("proxy.internal", is_unix=False, token=TOKEN.encode())
    assert refusal(access, BEARER, host="Proxy.Internal.:9090") == 0
    assert refusal(access, BEARER, host="other.internal:9090") == 403


@pytest.mark.parametrize(
    "line",
    [
        "Origin: http://evil.example",
        "Origin: null",
        "Origin: https://127.0.0.1:9090",
        "Origin: http://127.0.0.1:9091",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ],
)
def test_a_page_of_another_origin_is_refused(line: str) -> None:
    assert refusal(OPEN, line) == 403
    assert refusal(WITH_TOKEN, BEARER, line) == 403


@pytest.mark.parametrize(
    "line", ["Origin: http://127.0.0.1:9090", "Sec-Fetch-Site: none", "Sec-Fetch-Site: same-origin"]
)
def test_this_listeners_own_page_is_not(line: str) -> None:
    assert refusal(OPEN, line) == 0


READER = "a-token-that-only-reads"
READS = f"Authorization: Bearer {READER}"
WITH_BOTH = Access("127.0.0.1", is_unix=False, token=TOKEN.encode(), reader_token=READER.encode())


@pytest.mark.parametrize(
    ("access", "line", "statuses"),
    [
        (WITH_BOTH, BEARER, (0, 0, 0)),
        (WITH_BOTH, READS, (0, 403, 403)),
        (WITH_BOTH, f"{READS}x", (401, 401, 401)),
        (WITH_BOTH, "X: y", (401, 401, 401)),
        (Access("h", is_unix=False, token=None, reader_token=READER.encode()), READS, (0, 403, 403)),
        (Access("h", is_unix=False, token=None, reader_token=READER.encode()), "X: y", (401, 403, 403)),
        (Access("h", is_unix=False, token=None, open_to_all=[READING]), "X: y", (0, 403, 403)),
        (Access("h", is_unix=False, token=TOKEN.encode(), open_to_all=[READING]), BEARER, (0, 0, 0)),
        (OPEN, "X: y", (403, 403, 0)),
        (UNIX, "X: y", (0, 0, 0)),
    ],
)
def test_each_need_has_its_own_proof(access: Access, line: str, statuses: tuple[int, int, int]) -> None:
    needs = (READING, CHANGING, PROFILES)
    assert tuple(refusal(access, line, need=need) for need in needs) == statuses


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1:9033", True), ("localhost:9033", True), ("[::1]:9033", True), ("evil.example:9033", False)],
)
def test_a_page_whose_name_leads_to_loopback_gets_not_even_what_everybody_may_have(
    host: str, is_own: bool
) -> None:
    local = Access("127.0.0.1", is_unix=False, is_loopback=True, token=None)
    assert reached_by(local, host) is is_own
    assert reached_by(Access("0.0.0.0", is_unix=False, token=None), host)  # scrapers ask by any name
