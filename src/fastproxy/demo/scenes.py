"""The scenes in their order, and those of ordinary calls: two that succeed, and what policy refuses.

Each sends real requests through real proxies, tells what every party saw, and expects strictly: statuses,
bodies, who refused in which phase and why, and that a service never gets what was refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPException

from fastproxy.demo.attacks import a_strangers_key, an_impostor, replayed, tampered_answer, tampered_request
from fastproxy.demo.eavesdropper import hex_lines
from fastproxy.demo.other_ways import from_an_old_proxy, over_http
from fastproxy.demo.restart import restarted_under_calls
from fastproxy.demo.scene import Scene
from fastproxy.demo.stage import Stage, call
from fastproxy.demo.witness import (
    BACK,
    CONTENT,
    HEX_ROWS,
    OVERHEARD,
    SENT,
    expect_refusal,
    expect_success,
    expect_unreadable,
    got_count,
    named,
    passed,
    post,
)


def song_calls_token(stage: Stage) -> Scene:
    """The first call of the record, and the first on its link."""
    scene = Scene("song_service calls token_service")
    seen_before = len(stage.eavesdropper.seen)
    answer = post(scene, stage.out_proxy, "token_service", named("song_service"))
    there, back = (passed(stage.eavesdropper, seen_before, inward=inward) for inward in (True, False))
    scene.expect("whether a handshake and records passed both ways", min(len(there), len(back)) > 1, True)
    expect_unreadable(scene, b"".join(there + back), "song_service", "token_service")
    scene.tell(OVERHEARD, f"a link: first a handshake, {len(there[0])} bytes there, {len(back[0])} back:")
    scene.tell(OVERHEARD, "\n".join(hex_lines(there[0], HEX_ROWS)))
    scene.tell(OVERHEARD, f"then sealed records; the end of the {len(there[-1])} bytes of this one:")
    scene.tell(OVERHEARD, "\n".join(hex_lines(there[-1][-16 * HEX_ROWS :], HEX_ROWS)))
    scene.tell(OVERHEARD, "in all of it no caller, service, path or content")
    expect_success(scene, stage, answer, "song_service", "token_service")
    return scene


def chat_calls_search(stage: Stage) -> Scene:
    """The second call of the record: another caller, so another link; then more of them."""
    scene = Scene("chat_service calls search_service, and nine times more")
    links_before = {piece.connection for piece in stage.eavesdropper.seen}
    seen_before, got_before = len(stage.eavesdropper.seen), got_count(stage)
    answer = post(scene, stage.out_proxy, "search_service", named("chat_service"))
    expect_success(scene, stage, answer, "chat_service", "search_service")
    target, headers = "/search_service/api/service", named("chat_service")
    more = [call(stage.out_proxy, "POST", target, headers, CONTENT).status for _ in range(9)]
    scene.expect("statuses of the others", more, [200] * 9)
    scene.expect("requests that reached the service", got_count(stage) - got_before, 10)
    pieces = list(stage.eavesdropper.seen)[seen_before:]
    content = b"".join([piece.data for piece in pieces])
    expect_unreadable(scene, content, "chat_service", "search_service")
    links = {piece.connection for piece in pieces}
    scene.tell(OVERHEARD, f"{len(links)} link for ten calls, and {len(content)} bytes on it")
    scene.expect("links that the ten calls took", len(links), 1)
    scene.expect("links among them that song_service has", len(links & links_before), 0)
    return scene


def no_privilege(stage: Stage) -> Scene:
    """A known caller asks for what it may not have."""
    scene = Scene("No privilege: song_service calls search_service, which only chat_service may call")
    got_before = got_count(stage)
    answer = post(scene, stage.out_proxy, "search_service", named("song_service"))
    expect_refusal(scene, answer, stage.in_proxy, 403, "in", "no_privilege", "privilege")
    scene.expect("what reached the services", got_count(stage) - got_before, 0)
    return scene


def over_the_rate(stage: Stage) -> Scene:
    """One request more than the rate allows."""
    scene = Scene("Over the rate: chat_service may ask for suggestions twice, then once in 10 s")
    got_before = got_count(stage)
    headers = {"C_ServiceName": "chat_service"}
    target = "/search_service/api/suggest"
    scene.tell(SENT, f"GET {target}, three times\nC_ServiceName: chat_service")
    allowed = [call(stage.out_proxy, "GET", target, headers).status for _ in range(2)]
    scene.tell(BACK, f"{allowed[0]} and {allowed[1]} for the first two")
    scene.expect("statuses of the first two", allowed, [200, 200])
    answer = call(stage.out_proxy, "GET", target, headers)
    expect_refusal(scene, answer, stage.in_proxy, 429, "in", "rate_limited", "rate")
    retry_after = answer.headers.get("retry-after", "")
    scene.expect("Retry-After within the 10 s", retry_after.isdecimal() and 1 <= int(retry_after) <= 10, True)
    scene.expect("requests that reached the services", got_count(stage) - got_before, 2)
    return scene


def past_its_deadline(stage: Stage) -> Scene:
    """A request that nobody waits for any more."""
    scene = Scene("Past its deadline: the caller's deadline was a minute ago")
    got_before, seen_before = got_count(stage), len(stage.eavesdropper.seen)
    headers = {**named("song_service"), "request_dead_time": str(int(time.time()) - 60)}
    answer = post(scene, stage.out_proxy, "token_service", headers)
    expect_refusal(scene, answer, stage.out_proxy, 504, "out", "deadline_exceeded", "deadline")
    scene.expect("pieces that passed between the proxies", len(stage.eavesdropper.seen) - seen_before, 0)
    scene.tell(OVERHEARD, "nothing: it wasn't even sent")
    scene.expect("what reached the services", got_count(stage) - got_before, 0)
    return scene


SCENES: tuple[Callable[[Stage], Scene], ...] = (
    song_calls_token,
    chat_calls_search,
    no_privilege,
    over_the_rate,
    past_its_deadline,
    tampered_request,
    tampered_answer,
    replayed,
    a_strangers_key,
    an_impostor,
    restarted_under_calls,
    over_http,
    from_an_old_proxy,
)


def play(scene_of: Callable[[Stage], Scene], stage: Stage) -> Scene:
    """Play a scene; when nothing sensible comes back in it, that is what went wrong."""
    try:
        return scene_of(stage)
    except (OSError, HTTPException, ValueError, IndexError) as exc:
        scene = Scene(scene_of.__name__.replace("_", " "))
        scene.wrong.append(f"it broke off: {type(exc).__name__}: {exc}")
        return scene
