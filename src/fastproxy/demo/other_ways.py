"""The scenes of the two transports beside the link, and of what each lets an eavesdropper see."""

from __future__ import annotations

from fastproxy.demo.eavesdropper import hex_lines
from fastproxy.demo.scene import Scene
from fastproxy.demo.stage import Stage
from fastproxy.demo.witness import (
    CONTENT,
    FORM,
    HEX_ROWS,
    OVERHEARD,
    SPY,
    expect_success,
    expect_unreadable,
    got_count,
    named,
    passed,
    post,
    tell_answer,
    tell_logged,
)

WEAKNESS, LIMIT = "what that leaves open", "and its limit"


def over_http(stage: Stage) -> Scene:
    """A sealed message for each call, for paths that only HTTP passes."""
    scene = Scene("Through HTTP middleboxes: chat_service calls report_service with transport: http")
    seen_before = len(stage.eavesdropper.seen)
    answer = post(scene, stage.out_proxy, "report_service", named("chat_service"))
    there, back = (
        b"".join(passed(stage.eavesdropper, seen_before, inward=inward)) for inward in (True, False)
    )
    expect_unreadable(scene, there + back, "chat_service", "report_service")
    line = there.partition(b" HTTP/")[0].decode(errors="replace")
    scene.expect("the request's line between the proxies", line, "POST /fastproxy/v2")
    scene.tell(OVERHEARD, f"{line}, and an envelope; its end:")
    scene.tell(OVERHEARD, "\n".join(hex_lines(there[-16 * HEX_ROWS :], HEX_ROWS)))
    expect_success(scene, stage, answer, "chat_service", "report_service")
    got_before, logged_before = got_count(stage), len(stage.in_proxy.lines())
    # The first envelope to an in proxy that has just started only asks for its epoch.
    recorded = there[there.rfind(line.encode()) :]
    status, content = stage.eavesdropper.play_back_request(recorded)
    scene.tell(f"{SPY} sends", f"the same {len(recorded)} bytes again: {status}")
    scene.expect("status when it is played back", status, 401)
    scene.expect("whether the service's answer is in what comes back", CONTENT.encode() in content, False)
    tell_logged(scene, stage, logged_before, "envelope_replayed")
    scene.expect("what reached the services", got_count(stage) - got_before, 0)
    return scene


def from_an_old_proxy(stage: Stage) -> Scene:
    """One side still speaks the original's format, which protects less."""
    scene = Scene("The original's format: lobby_service calls through an out proxy that speaks compat")
    seen_before, token = len(stage.eavesdropper.seen), stage.services["token_service"]
    answer = post(scene, stage.old_proxy, "token_service", FORM)
    recorded = b"".join(passed(stage.eavesdropper, seen_before, inward=True))
    head, _, message = recorded.partition(b"\r\n\r\n")
    line, caller = b"POST /inProxy/token_service/api/service", b"C_ServiceName: lobby_service"
    scene.expect("whether path and caller can be read", (line in head, caller in head), (True, True))
    scene.expect("whether the content can be read", CONTENT.encode() in message, False)
    scene.tell(OVERHEARD, f"{line.decode()}\n{caller.decode()}\nand a message whose content is encrypted:")
    scene.tell(OVERHEARD, "\n".join(hex_lines(message[-16 * HEX_ROWS :], HEX_ROWS)))
    tell_answer(scene, answer, 200)
    got_before = got_count(stage)
    status, _ = stage.eavesdropper.play_back_request(recorded)
    scene.tell(WEAKNESS, f"the same {len(recorded)} bytes again: {status}, and the service gets them twice")
    scene.expect("status when it is played back", status, 200)
    scene.expect("what reached the services", got_count(stage) - got_before, 1)
    wanted = ("POST", "/api/service", "lobby_service", CONTENT)
    found = [tuple(got) for got in list(token.got)[-2:]]
    scene.expect("what the service got, both times", found, [wanted] * 2)
    logged_before = len(stage.in_proxy.lines())
    status, _ = stage.eavesdropper.play_back_request(
        recorded.replace(caller, b"C_ServiceName: song_service", 1)
    )
    scene.tell(LIMIT, f"the same in the name of song_service, which has an identity: {status}")
    scene.expect("status in another's name", status, 401)
    tell_logged(scene, stage, logged_before, "identity_unproven")
    scene.expect("what reached the services", got_count(stage) - got_before, 1)
    return scene
