"""The scenes: two calls that succeed, six that must not, and one in the Go original's format.

Each sends real requests through real proxies, tells what every party saw, and expects strictly: statuses,
bodies, who refused in which phase and why, and that a service never gets what was refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any

from fastproxy.demo.eavesdropper import hex_lines, sealed_part
from fastproxy.demo.scene import Scene
from fastproxy.demo.stage import Answer, Proxy, Stage, call
from fastproxy.errors import TABLE

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CONTENT = "param=hello"
SENT, OVERHEARD, GOT, BACK = "the caller sends", "an eavesdropper sees", "the service gets", "what comes back"
REFUSED, ADVICE, IN_LOG = "refused by", "what to do", "in proxy's log"
WEAKNESS = "what that leaves open"
_HEX_ROWS = 4


def song_calls_token(stage: Stage) -> Scene:
    """The first call of the record."""
    return _goes_through(stage, "song_service", "token_service", shows_bytes=True)


def chat_calls_search(stage: Stage) -> Scene:
    """The second call of the record."""
    return _goes_through(stage, "chat_service", "search_service", shows_bytes=False)


def no_privilege(stage: Stage) -> Scene:
    """A known caller asks for what it may not have."""
    scene = Scene("No privilege: song_service calls search_service, which only chat_service may call")
    got_before = _got(stage)
    answer = _post(scene, stage.out_proxy, "search_service", _as("song_service"))
    _expect_refusal(scene, stage, answer, 403, "in", "no_privilege", "privilege")
    scene.expect("what reached the services", _got(stage) - got_before, 0)
    return scene


def over_the_rate(stage: Stage) -> Scene:
    """One request more than the rate allows."""
    scene = Scene("Over the rate: chat_service may ask for suggestions twice, then once in 10 s")
    got_before = _got(stage)
    headers = {"C_ServiceName": "chat_service"}
    target = "/search_service/api/suggest"
    scene.tell(SENT, f"GET {target}, three times\nC_ServiceName: chat_service")
    allowed = [call(stage.out_proxy, "GET", target, headers).status for _ in range(2)]
    scene.tell(BACK, f"{allowed[0]} and {allowed[1]} for the first two")
    scene.expect("statuses of the first two", allowed, [200, 200])
    answer = call(stage.out_proxy, "GET", target, headers)
    _expect_refusal(scene, stage, answer, 429, "in", "rate_limited", "rate")
    retry_after = answer.headers.get("retry-after", "")
    scene.expect("Retry-After within the 10 s", retry_after.isdecimal() and 1 <= int(retry_after) <= 10, True)
    scene.expect("requests that reached the services", _got(stage) - got_before, 2)
    return scene


def tampered(stage: Stage) -> Scene:
    """One bit changes on the way."""
    scene = Scene("Tampered in flight: the eavesdropper flips one bit of the sealed request")
    got_before, logged_before = _got(stage), len(stage.in_proxy.lines())
    stage.eavesdropper.tamper_with_next()
    answer = _post(scene, stage.out_proxy, "token_service", _as("song_service"))
    _expect_silent_refusal(scene, stage, answer, logged_before)
    scene.expect("what reached the services", _got(stage) - got_before, 0)
    return scene


def replayed(stage: Stage) -> Scene:
    """What was recorded is played back."""
    scene = Scene("Replayed: the eavesdropper plays a call back that it recorded before")
    seen_before = len(stage.eavesdropper.seen)
    first = call(stage.out_proxy, "POST", "/token_service/api/service", _as("song_service"), CONTENT)
    scene.expect("status of the call that is recorded", first.status, 200)
    recorded = _passed(stage, seen_before, inward=True)
    got_before, logged_before = _got(stage), len(stage.in_proxy.lines())
    scene.tell("the eavesdropper sends", f"the same {len(recorded)} bytes again, to the in proxy")
    status, content = stage.eavesdropper.play_back(recorded)
    scene.tell(BACK, f"{status}, in the clear: the in proxy seals nothing for whoever can't prove a name")
    scene.expect("status", status, 401)
    scene.expect("the service's answer is in what comes back", CONTENT.encode() in content, False)
    _tell_logged(scene, stage, logged_before, "envelope_replayed")
    scene.expect("what reached the services", _got(stage) - got_before, 0)
    return scene


def past_its_deadline(stage: Stage) -> Scene:
    """A request that nobody waits for any more."""
    scene = Scene("Past its deadline: the caller's deadline was a minute ago")
    got_before, seen_before = _got(stage), len(stage.eavesdropper.seen)
    headers = {**_as("song_service"), "request_dead_time": str(int(time.time()) - 60)}
    answer = _post(scene, stage.out_proxy, "token_service", headers)
    _expect_refusal(scene, stage, answer, 504, "out", "deadline_exceeded", "deadline")
    scene.expect("pieces that passed between the proxies", len(stage.eavesdropper.seen) - seen_before, 0)
    scene.tell(OVERHEARD, "nothing: it wasn't even sent")
    scene.expect("what reached the services", _got(stage) - got_before, 0)
    return scene


def a_strangers_key(stage: Stage) -> Scene:
    """Someone with a key of their own says that they are chat_service."""
    scene = Scene("A stranger's key: another out proxy claims to be chat_service, with a key of its own")
    got_before, logged_before = _got(stage), len(stage.in_proxy.lines())
    answer = _post(scene, stage.strangers_proxy, "search_service", FORM)
    _expect_silent_refusal(scene, stage, answer, logged_before)
    scene.expect("what reached the services", _got(stage) - got_before, 0)
    return scene


def from_an_old_proxy(stage: Stage) -> Scene:
    """One side still speaks the original's format, which protects less."""
    scene = Scene("The original's format: lobby_service calls through an out proxy that speaks compat")
    seen_before, token = len(stage.eavesdropper.seen), stage.services["token_service"]
    answer = _post(scene, stage.old_proxy, "token_service", FORM)
    recorded = _passed(stage, seen_before, inward=True)
    head, _, message = recorded.partition(b"\r\n\r\n")
    line, named = b"POST /inProxy/token_service/api/service", b"C_ServiceName: lobby_service"
    scene.expect("whether path and caller can be read", (line in head, named in head), (True, True))
    scene.expect("whether the content can be read", CONTENT.encode() in message, False)
    scene.tell(OVERHEARD, f"{line.decode()}\n{named.decode()}\nand a message whose content is encrypted:")
    scene.tell(OVERHEARD, "\n".join(hex_lines(message[-_HEX_ROWS * 16 :], _HEX_ROWS)))
    scene.tell(BACK, f"{answer.status}   {answer.body.strip()}")
    scene.expect("status", answer.status, 200)
    got_before = _got(stage)
    status, _ = stage.eavesdropper.play_back(recorded)
    scene.tell(WEAKNESS, f"the same {len(recorded)} bytes again: {status}, and the service gets them twice")
    scene.expect("status when it is played back", status, 200)
    scene.expect("what reached the services", _got(stage) - got_before, 1)
    wanted = ("POST", "/api/service", "lobby_service", CONTENT)
    scene.expect(
        "what the service got, both times", [tuple(got) for got in list(token.got)[-2:]], [wanted] * 2
    )
    logged_before = len(stage.in_proxy.lines())
    status, _ = stage.eavesdropper.play_back(recorded.replace(named, b"C_ServiceName: song_service", 1))
    scene.tell("and its limit", f"the same in the name of song_service, which has an identity: {status}")
    scene.expect("status in another's name", status, 401)
    _tell_logged(scene, stage, logged_before, "identity_unproven")
    scene.expect("what reached the services", _got(stage) - got_before, 1)
    return scene


SCENES: tuple[Callable[[Stage], Scene], ...] = (
    song_calls_token,
    chat_calls_search,
    no_privilege,
    over_the_rate,
    tampered,
    replayed,
    past_its_deadline,
    a_strangers_key,
    from_an_old_proxy,
)


def play(scene_of: Callable[[Stage], Scene], stage: Stage) -> Scene:
    """Play a scene; when nothing sensible comes back in it, that is what went wrong."""
    try:
        return scene_of(stage)
    except (OSError, HTTPException, ValueError) as exc:
        scene = Scene(scene_of.__name__.replace("_", " "))
        scene.wrong.append(f"it broke off: {type(exc).__name__}: {exc}")
        return scene


# --- what scenes are made of --------------------------------------------------------------------------------


def _goes_through(stage: Stage, caller: str, service: str, *, shows_bytes: bool) -> Scene:
    scene = Scene(f"{caller} calls {service}")
    seen_before = len(stage.eavesdropper.seen)
    answer = _post(scene, stage.out_proxy, service, _as(caller))
    there, back = (_passed(stage, seen_before, inward=inward) for inward in (True, False))
    _expect_sealed(scene, there + back, (caller, service))
    if shows_bytes:
        sealed = there[sealed_part(there) :]
        scene.tell(
            OVERHEARD,
            "POST /fastproxy/v2, and an envelope; inside:\n" + "\n".join(hex_lines(sealed, _HEX_ROWS)),
        )
    scene.tell(
        OVERHEARD, f"{len(there)} bytes there and {len(back)} back: no caller, service, path or content"
    )
    got = stage.services[service].got
    scene.expect("requests that reached the service", len(got), 1)
    for request in got:
        scene.tell(
            GOT,
            f"{request.method} {request.path}   {request.body}\nFastproxy-Caller: {request.caller} "
            "(proven by its key, said by the in proxy)",
        )
        scene.expect("what the service got", tuple(request), ("POST", "/api/service", caller, CONTENT))
    scene.tell(BACK, f"{answer.status}   {answer.body.strip()}")
    scene.expect("status", answer.status, 200)
    answered = f'{{"service": "{service}", "caller": "{caller}", "you_sent": "{CONTENT}"}}\n'
    scene.expect("the answer's body", answer.body, answered)
    return scene


def _post(scene: Scene, proxy: Proxy, service: str, headers: Mapping[str, str]) -> Answer:
    """Make the record's request of a service, and tell it."""
    target = f"/{service}/api/service"
    shown = "".join(f"\n{name}: {value}" for name, value in headers.items() if name not in FORM)
    scene.tell(SENT, f"POST {target}   {CONTENT}{shown}")
    return call(proxy, "POST", target, headers, CONTENT)


def _expect_sealed(scene: Scene, seen: bytes, names: tuple[str, ...]) -> None:
    scene.expect("whether anything passed between the proxies", bool(seen), True)
    for word in ("param", "hello", "/api/", *names):
        scene.expect(f"whether an eavesdropper can read {word}", word.encode() in seen, False)


def _expect_refusal(
    scene: Scene, stage: Stage, answer: Answer, status: int, hop: str, cause: str, phase: str
) -> None:
    """The answer itself says who refused, where and why; so does that proxy's log, under the same id."""
    problem = answer.problem()
    scene.tell(BACK, _summary(answer))
    if problem:
        scene.tell(
            REFUSED, f"the {problem.get('hop')} proxy, phase {problem.get('phase')}: {problem.get('cause')}"
        )
        scene.tell(ADVICE, str(problem.get("advice")))
    scene.expect("status", answer.status, status)
    named = (problem.get("hop"), problem.get("cause"), problem.get("phase"))
    scene.expect("hop, cause and phase in the answer", named, (hop, cause, phase))
    proxy = stage.in_proxy if hop == "in" else stage.out_proxy
    exchange = problem.get("exchange")
    if exchange is not None:
        line = proxy.await_line(lambda line: line.get("exchange") == exchange and line.get("cause") == cause)
        scene.expect(f"whether the {hop} proxy logged the refusal under the answer's id", bool(line), True)


def _expect_silent_refusal(scene: Scene, stage: Stage, answer: Answer, logged_before: int) -> None:
    """Whoever proves nothing learns nothing: the caller gets a failure, the in proxy's log the cause."""
    problem = answer.problem()
    scene.tell(BACK, _summary(answer))
    scene.expect("status", answer.status, 502)
    named = (problem.get("hop"), problem.get("cause"))
    scene.expect("hop and cause in the answer", named, ("out", "response_unsealed"))
    _tell_logged(scene, stage, logged_before, "identity_unproven")


def _tell_logged(scene: Scene, stage: Stage, logged_before: int, cause: str) -> None:
    """Show a refusal that only the in proxy's log tells of."""

    def is_refusal(line: dict[str, Any]) -> bool:
        return line.get("logger") == "fastproxy.exchange" and "cause" in line

    line = stage.in_proxy.await_line(is_refusal, skip=logged_before) or {}
    if line:
        scene.tell(REFUSED, f"the in proxy, phase {line.get('phase')}: {line.get('cause')}")
        row = TABLE.get(str(line.get("cause")))
        scene.tell(IN_LOG, row.title if row else str(line))
    scene.expect(
        "cause and phase in the in proxy's log", (line.get("cause"), line.get("phase")), (cause, "open")
    )


def _as(caller: str) -> dict[str, str]:
    return {**FORM, "C_ServiceName": caller}


def _summary(answer: Answer) -> str:
    problem = answer.problem()
    if not problem:
        return f"{answer.status}   {answer.body[:200].strip()}"
    title, detail = problem.get("title"), problem.get("detail")
    return f"{answer.status}   {title}" + (f"\n({detail})" if detail != title else "")


def _passed(stage: Stage, skip: int, *, inward: bool) -> bytes:
    """What passed between the proxies in one direction, after the first `skip` pieces of both."""
    return b"".join([piece.data for piece in list(stage.eavesdropper.seen)[skip:] if piece.inward is inward])


def _got(stage: Stage) -> int:
    return sum(len(service.got) for service in stage.services.values())
