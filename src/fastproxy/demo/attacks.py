"""The scenes of whoever has the bytes and not the key: changed on the way, played back, in another's name.

Whoever proves nothing learns nothing: a link that isn't as it should be ends without a word in the clear, the
caller is told that there is none, and the proxies count why.
"""

from __future__ import annotations

from fastproxy.demo.scene import Scene
from fastproxy.demo.stage import Stage, call
from fastproxy.demo.witness import (
    ADVICE,
    BACK,
    CONTENT,
    FORM,
    IN_COUNT,
    OUT_COUNT,
    OVERHEARD,
    SPY,
    expect_refusal,
    expect_success,
    expect_unreadable,
    got_count,
    named,
    passed,
    post,
    tell_counted,
)

LINKS_ENDED = "fastproxy_links_ended"
FOLLOWS = "what follows"
HANDSHAKES_FAILED = "fastproxy_link_handshake_failures"


def tampered_request(stage: Stage) -> Scene:
    """One bit changes on the way to the service."""
    scene = Scene("Tampered in flight: the eavesdropper flips one bit of a sealed request")
    got_before, counted_before = got_count(stage), stage.in_proxy.count(LINKS_ENDED, "record")
    stage.eavesdropper.tamper_with_next(inward=True)
    answer = post(scene, stage.out_proxy, "token_service", named("song_service"))
    tell_counted(scene, IN_COUNT, stage.in_proxy, LINKS_ENDED, "record", counted_before)
    scene.tell(FOLLOWS, "that link is over; the last that it carries says that the call wasn't taken:")
    scene.tell(FOLLOWS, "the out proxy makes another link, and sends the call again")
    expect_success(scene, stage, answer, "song_service", "token_service")
    scene.expect("what reached the services", got_count(stage) - got_before, 1)
    return scene


def tampered_answer(stage: Stage) -> Scene:
    """One bit changes on the way back."""
    scene = Scene("Tampered in flight: the eavesdropper flips one bit of a sealed answer")
    got_before, counted_before = got_count(stage), stage.out_proxy.count(LINKS_ENDED, "record")
    stage.eavesdropper.tamper_with_next(inward=False)
    answer = post(scene, stage.out_proxy, "token_service", named("song_service"))
    expect_refusal(scene, answer, stage.out_proxy, 502, "out", "connection_lost", "wait")
    tell_counted(scene, OUT_COUNT, stage.out_proxy, LINKS_ENDED, "record", counted_before)
    scene.expect("what reached the services", got_count(stage) - got_before, 1)
    scene.tell(FOLLOWS, "the service may have got it, so it isn't sent again; but the next call,")
    scene.tell(FOLLOWS, "over a new link, goes well:")
    again = post(scene, stage.out_proxy, "token_service", named("song_service"))
    expect_success(scene, stage, again, "song_service", "token_service")
    return scene


def replayed(stage: Stage) -> Scene:
    """All that was said on a link is said once more."""
    scene = Scene("Replayed: the eavesdropper plays a whole link back, handshake and call")
    seen_before = len(stage.eavesdropper.seen)
    headers = named("song_service")
    first = call(stage.out_proxy, "POST", "/token_service/api/service", headers, CONTENT)
    scene.expect("status of the call that is recorded", first.status, 200)
    pieces = list(stage.eavesdropper.seen)
    link = pieces[seen_before].connection
    recorded = [piece.data for piece in pieces if piece.inward and piece.connection == link]
    got_before, counted_before = got_count(stage), stage.in_proxy.count(HANDSHAKES_FAILED, "record")
    scene.tell(
        f"{SPY} sends", f"the same {len(b''.join(recorded))} bytes again, to the in proxy, in the same order"
    )
    said = stage.eavesdropper.play_back_connection(recorded)
    answered = next(piece.data for piece in pieces if piece.connection == link and not piece.inward)
    scene.tell(BACK, f"{len(said)} bytes, the in proxy's side of a fresh handshake; then it hangs up, since")
    scene.tell(BACK, "the records aren't sealed under what this one has agreed on")
    scene.expect("length of what the in proxy said, a handshake's", len(said), len(answered))
    scene.expect("whether it is what it said then", said == answered, False)
    tell_counted(scene, IN_COUNT, stage.in_proxy, HANDSHAKES_FAILED, "record", counted_before)
    scene.expect("what reached the services", got_count(stage) - got_before, 0)
    return scene


def a_strangers_key(stage: Stage) -> Scene:
    """Someone with a key of their own says that they are chat_service."""
    scene = Scene("A stranger's key: another out proxy claims to be chat_service, with a key of its own")
    got_before, seen_before = got_count(stage), len(stage.eavesdropper.seen)
    counted_before = stage.in_proxy.count(HANDSHAKES_FAILED, "unknown_caller")
    answer = post(scene, stage.strangers_proxy, "search_service", FORM)
    said = b"".join(passed(stage.eavesdropper, seen_before, inward=False))
    scene.tell(OVERHEARD, f"a handshake there, and {len(said)} bytes back: the in proxy hangs up")
    scene.expect("what the in proxy said", said, b"")
    expect_refusal(scene, answer, stage.strangers_proxy, 502, "out", "link_refused", "connect")
    tell_counted(scene, IN_COUNT, stage.in_proxy, HANDSHAKES_FAILED, "unknown_caller", counted_before)
    line = stage.in_proxy.await_line(lambda line: line.get("cause") == "unknown_caller") or {}
    scene.tell("in proxy's log", f"{line.get('message')}: {line.get('cause')}, {line.get('detail')}")
    scene.tell(ADVICE, str(line.get("advice")))
    scene.expect("whether the in proxy logged why", "key id" in str(line.get("detail")), True)
    scene.expect("what reached the services", got_count(stage) - got_before, 0)
    return scene


def an_impostor(stage: Stage) -> Scene:
    """A caller poses as the receiver, at an address that discovery was made to give."""
    scene = Scene("An impostor: song_service runs an in proxy of the same name, at mail_service's address")
    got_before = got_count(stage)
    counted_before = stage.impostor.count(HANDSHAKES_FAILED, "mac")
    seen_before = len(stage.impostors_eavesdropper.seen)
    answer = post(scene, stage.out_proxy, "mail_service", named("chat_service"))
    there = b"".join(passed(stage.impostors_eavesdropper, seen_before, inward=True))
    expect_unreadable(scene, there, "chat_service", "mail_service")
    scene.tell("the impostor gets", f"{len(there)} bytes of a handshake for another key, and no more")
    scene.expect("whether that is one handshake message", len(there) <= 512, True)
    tell_counted(scene, "impostor's count", stage.impostor, HANDSHAKES_FAILED, "mac", counted_before)
    expect_refusal(scene, answer, stage.out_proxy, 502, "out", "link_refused", "connect")
    scene.expect("what reached the services", got_count(stage) - got_before, 0)
    return scene
