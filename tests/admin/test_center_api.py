"""Requests to the center, and what it answers; each refusal has its line in the docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.admin.center.access import Access, token_digest
from fastproxy.admin.center.api import CONTENT_LIMIT_BYTES, CenterApi, Reply
from fastproxy.admin.center.names import Key
from fastproxy.admin.center.refusals import TABLE
from fastproxy.admin.center.registry import Bounds, Registry
from fastproxy.admin.center.waiters import Wait, Waiters

TOKEN = "song-token-0123456789"
BEARER = f"Bearer {TOKEN}".encode()
SONG_AT_1 = "/v1/services/song/endpoints/192.0.2.1:80"


class Center:
    """A center without sockets; its clock is a number."""

    def __init__(
        self, *, is_open: bool = False, bounds: Bounds | None = None, waiters: Waiters | None = None
    ) -> None:
        self.now_s = 0.0
        self.registry = Registry(bounds or Bounds(), first_version=100, now_s=0.0)
        self.waiters = waiters or Waiters()
        access = Access({} if is_open else {"song": [token_digest(TOKEN)]}, is_open=is_open)
        self.api = CenterApi(self.registry, access, self.waiters)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        authorization: bytes = BEARER,
        peer: str = "127.0.0.1",
        origin: bytes = b"",
    ) -> Reply | Wait:
        return self.api.answer(
            method.encode(), target.encode(), authorization, body, peer, self.now_s, origin=origin
        )

    def reply(self, method: str, target: str, body: bytes = b"", **more: Any) -> Reply:
        reply = self.ask(method, target, body, **more)
        assert isinstance(reply, Reply)
        return reply

    def json(self, method: str, target: str, body: bytes = b"", **more: Any) -> Any:
        reply = self.reply(method, target, body, **more)
        assert (reply.status, reply.content_type) == (200, b"application/json")
        return msgspec.json.decode(reply.content)

    def refusal(self, method: str, target: str, body: bytes = b"", **more: Any) -> str:
        """Return the cause, having checked that the answer says what it has to."""
        reply = self.reply(method, target, body, **more)
        problem = msgspec.json.decode(reply.content)
        assert reply.content_type == b"application/problem+json"
        assert problem["status"] == reply.status == TABLE[problem["cause"]].status
        assert problem["title"]
        assert problem["detail"]
        assert problem["advice"]
        assert TOKEN.encode() not in reply.content
        return str(problem["cause"])


def test_register_look_up_deregister() -> None:
    center = Center()
    assert center.json("PUT", SONG_AT_1, b'{"ttl_s": 20}') == {
        "address": "192.0.2.1:80",
        "expires_in_s": 20.0,
    }
    assert (
        center.json("PUT", "/v1/services/song/endpoints/%5B2001%3Adb8%3A%3A1%5D%3A80")["expires_in_s"] == 15.0
    )
    known = center.json("GET", "/v1/services/song", authorization=b"")
    assert known == {
        "name": "song",
        "version": 102,
        "endpoints": [{"address": "192.0.2.1:80"}, {"address": "[2001:db8::1]:80"}],
    }
    assert center.json("GET", "/v1/receivers/song")["endpoints"] == []
    assert center.reply("DELETE", SONG_AT_1).status == 204
    assert center.reply("DELETE", SONG_AT_1).status == 204
    assert center.json("GET", "/v1/services/song")["endpoints"] == [{"address": "[2001:db8::1]:80"}]


def test_a_lease_runs_out() -> None:
    center = Center()
    center.json("PUT", SONG_AT_1, b'{"ttl_s": 3}')
    for center.now_s in (1.0, 2.0, 3.0):
        endpoints = center.json("GET", "/v1/services/song")["endpoints"]
    assert endpoints == []


def test_names_in_pages() -> None:
    center = Center(is_open=True)
    for name in ("a", "b", "c"):
        center.json("PUT", f"/v1/receivers/{name}/endpoints/192.0.2.1:80")
    first = center.json("GET", "/v1/receivers?limit=2")
    assert [line["name"] for line in first["names"]] == ["a", "b"]
    assert first["names"][0] == {"name": "a", "endpoints": 1, "version": 101}
    assert center.json("GET", f"/v1/receivers?from={first['next']}")["next"] is None
    assert center.json("GET", "/v1/services") == {"names": [], "next": None}


def test_a_watch_waits_for_a_change_and_for_nothing_else() -> None:
    center = Center()
    center.json("PUT", SONG_AT_1)
    center.registry.subscribe(center.waiters.on_change)
    wait = center.ask("GET", "/v1/services/song?after=101")
    assert wait == Wait(Key("services", "song"), 101, 30)
    assert isinstance(wait, Wait)
    woken: list[bool] = []
    center.waiters.add(wait, "192.0.2.9", lambda: woken.append(True))
    center.json("PUT", SONG_AT_1)
    assert not woken
    center.reply("DELETE", SONG_AT_1)
    assert woken
    assert msgspec.json.decode(center.api.answer_now(wait, 0.0).content)["version"] == 102


@pytest.mark.parametrize("after", ["100", "102", "0", "999999999999999999"])
def test_a_watch_after_another_version_is_answered_at_once(after: str) -> None:
    center = Center()
    center.json("PUT", SONG_AT_1)
    assert center.json("GET", f"/v1/services/song?after={after}&wait_s=60")["version"] == 101


def test_a_watch_of_no_seconds_is_answered_at_once() -> None:
    center = Center()
    assert center.json("GET", "/v1/services/song?after=100&wait_s=0")["version"] == 100


def test_watchers_are_bounded() -> None:
    center = Center(waiters=Waiters(limit_per_peer=1))
    wait = center.ask("GET", "/v1/services/song?after=100", peer="192.0.2.1")
    assert isinstance(wait, Wait)
    center.waiters.add(wait, "192.0.2.1", lambda: None)
    assert center.refusal("GET", "/v1/services/song?after=100", peer="192.0.2.1") == "too_many_watchers"
    assert isinstance(center.ask("GET", "/v1/services/song?after=100", peer="192.0.2.2"), Wait)


def test_a_fake_registration_is_refused_and_changes_nothing() -> None:
    center = Center()
    center.json("PUT", SONG_AT_1)
    before = center.json("GET", "/v1/services/song")
    fake = "/v1/services/song/endpoints/203.0.113.6:80"
    assert center.refusal("PUT", fake, authorization=b"") == "no_token"
    assert center.refusal("PUT", fake, authorization=b"Bearer guessed") == "token_refused"
    assert center.refusal("DELETE", SONG_AT_1, authorization=b"Bearer guessed") == "token_refused"
    assert center.refusal("PUT", "/v1/services/chat/endpoints/192.0.2.1:80") == "token_refused"
    assert (
        center.refusal("POST", "/api/register", b"name=song&ip=203.0.113.6&port=80", authorization=b"")
        == "no_token"
    )
    assert center.json("GET", "/v1/services/song") == before
    refused = center.reply("PUT", fake, authorization=b"")
    assert (b"www-authenticate", b'Bearer realm="fastproxy center"') in refused.fields


def test_an_open_center_takes_nothing_from_other_machines_and_web_pages() -> None:
    center = Center(is_open=True)
    assert center.refusal("PUT", SONG_AT_1, peer="192.0.2.7") == "not_local"
    form = b"name=song&ip=192.0.2.1&port=80"
    for origin in (b"null", b"http://127.0.0.1:8080", b"https://example.com"):
        assert center.refusal("POST", "/api/register", form, origin=origin) == "from_a_browser"
    assert center.json("GET", "/v1/services/song")["endpoints"] == []


def test_a_hundred_thousand_names() -> None:
    center = Center(is_open=True, bounds=Bounds(names=20, registrations_per_owner=10))
    causes = {
        center.refusal("PUT", f"/v1/services/n{number}/endpoints/192.0.2.1:80")
        for number in range(10, 2000)
        if not number < 20
        or center.reply("PUT", f"/v1/services/n{number}/endpoints/192.0.2.1:80").status != 200
    }
    assert causes == {"quota_used_up"}
    assert len(center.registry.registered_keys()) == 10
    assert center.json("PUT", "/v1/services/n10/endpoints/192.0.2.1:80")


@pytest.mark.parametrize(
    ("method", "target", "body", "cause"),
    [
        ("GET", "/", b"", "nothing_here"),
        ("GET", "/v1", b"", "nothing_here"),
        ("GET", "/v1/services/song/endpoints", b"", "nothing_here"),
        ("GET", "/v2/services", b"", "nothing_here"),
        ("GET", "*", b"", "nothing_here"),
        ("GET", "/v1/callers", b"", "malformed"),
        ("GET", "/v1/services/-", b"", "malformed"),
        ("GET", "/v1/services/a%2Fb", b"", "malformed"),
        ("GET", "/v1/services/%ff", b"", "malformed"),
        ("GET", "/v1/services/", b"", "malformed"),
        ("GET", "/v1/services?limit=0", b"", "malformed"),
        ("GET", "/v1/services?limit=1001", b"", "malformed"),
        ("GET", "/v1/services?from=%00", b"", "malformed"),
        ("GET", "/v1/services/song?after=-1", b"", "malformed"),
        ("GET", "/v1/services/song?after=1e3", b"", "malformed"),
        ("GET", "/v1/services/song?after=" + "9" * 19, b"", "malformed"),
        ("GET", "/v1/services/song?after=1&after=2", b"", "malformed"),
        ("GET", "/v1/services/song?wait_s=61", b"", "malformed"),
        ("GET", "/v1/services/song?watch=1", b"", "malformed"),
        ("GET", "/v1/services/song?after", b"", "malformed"),
        ("POST", "/v1/services/song", b"", "method_refused"),
        ("POST", SONG_AT_1, b"", "method_refused"),
        ("PUT", SONG_AT_1 + "?x=1", b"", "malformed"),
        ("PUT", "/v1/services/song/endpoints/0.0.0.0:80", b"", "malformed"),
        ("PUT", "/v1/services/song/endpoints/192.0.2.1", b"", "malformed"),
        ("PUT", SONG_AT_1, b"{", "malformed"),
        ("PUT", SONG_AT_1, b"[]", "malformed"),
        ("PUT", SONG_AT_1, b'{"ttl_s": 2}', "malformed"),
        ("PUT", SONG_AT_1, b'{"ttl_s": 3601}', "malformed"),
        ("PUT", SONG_AT_1, b'{"ttl_s": "9"}', "malformed"),
        ("PUT", SONG_AT_1, b'{"ttl_s": NaN}', "malformed"),
        ("PUT", SONG_AT_1, b'{"ttl": 9}', "malformed"),
        ("PUT", SONG_AT_1, b'{"\xff": 9}', "malformed"),
        ("PUT", SONG_AT_1, b" " * (CONTENT_LIMIT_BYTES + 1), "too_large"),
        ("GET", "/api/register?name=song&ip=192.0.2.1&port=80", b"", "method_refused"),
        ("POST", "/api/register", b"name=song&ip=192.0.2.1&port=0", "malformed"),
        ("POST", "/api/register", b"name=song&ip=192.0.2.1&port=x", "malformed"),
        ("POST", "/api/register", b"name=song&ip=&port=80", "malformed"),
        ("POST", "/api/register", b"ip=192.0.2.1&port=80", "malformed"),
        ("POST", "/api/register", b'{"name": "song"}', "malformed"),
        ("POST", "/api/register", b"name=song&ip=unix&port=/x", "malformed"),
        ("POST", "/api/address/get", b"name=a%20b", "malformed"),
        ("POST", "/api/address/get", b"&".join([b"a=1"] * 9), "malformed"),
    ],
)  # fmt: skip
def test_bad_requests_are_refused_by_name(method: str, target: str, body: bytes, cause: str) -> None:
    center = Center()
    assert center.refusal(method, target, body) == cause
    assert center.registry.registered_keys() == ()


def test_what_was_refused_says_which_methods_there_are() -> None:
    assert (b"allow", b"PUT, DELETE") in Center().reply("PATCH", SONG_AT_1).fields


@given(
    st.sampled_from(["GET", "PUT", "DELETE", "POST", "X"]),
    st.one_of(
        st.text(max_size=60), st.from_regex(r"/v1/(services|receivers)(/[ -~]{0,20}){0,4}(\?[ -~]{0,30})?")
    ),
    st.binary(max_size=40),
)
def test_any_request_has_an_answer(method: str, target: str, body: bytes) -> None:
    reply = Center(is_open=True).ask(method, target, body)
    assert isinstance(reply, Wait) or reply.status in {200, 204, 400, 404, 405}


# --- the original's API: exactly what its examples send and expect ------------------------------------------

FORM = b"name=token_service&ip=10.1.2.3&port=8101"


def test_the_original_registers_and_looks_up() -> None:
    center = Center(is_open=True)
    reply = center.reply("POST", "/api/register", FORM)
    assert (reply.status, reply.content) == (200, b"success\n")
    for reply in (
        center.reply("POST", "/api/address/get", b"name=token_service"),
        center.reply("GET", "/api/address/get?name=token_service"),
    ):
        assert (reply.status, reply.content) == (200, b"10.1.2.3:8101\n")
    assert center.reply("POST", "/api/address/get", b"name=nobody").content == b"\n"
    assert center.json("GET", "/v1/services/token_service")["endpoints"] == [{"address": "10.1.2.3:8101"}]


def test_the_last_of_the_originals_registrations_counts_and_stays() -> None:
    center = Center(is_open=True)
    center.reply("POST", "/api/register", FORM)
    center.reply("POST", "/api/register?name=token_service&ip=10.1.2.4&port=8101")
    for center.now_s in range(10_000):
        center.registry.expire(center.now_s)
    assert center.json("GET", "/v1/services/token_service")["endpoints"] == [{"address": "10.1.2.4:8101"}]


def test_the_originals_and_leased_registrations_stand_side_by_side() -> None:
    center = Center(is_open=True)
    center.json("PUT", "/v1/services/token_service/endpoints/192.0.2.1:80")
    center.reply("POST", "/api/register", FORM)
    center.json("PUT", "/v1/services/token_service/endpoints/%5B2001:db8::1%5D:80")
    assert len(center.json("GET", "/v1/services/token_service")["endpoints"]) == 3
    # The latest that the original can read: it splits at the colon.
    assert center.reply("POST", "/api/address/get", b"name=token_service").content == b"10.1.2.3:8101\n"


def test_the_form_comes_before_the_query() -> None:
    center = Center(is_open=True)
    center.reply("POST", "/api/register?name=other&port=1", FORM)
    assert (
        center.reply("POST", "/api/address/get?name=other", b"name=token_service").content
        == b"10.1.2.3:8101\n"
    )


def test_every_refusal_has_its_line_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "center.md").read_text()
    assert [row.label for row in TABLE.values() if f"| `{row.label}` | {row.status} |" not in page] == []
