"""What scenes are made of: a call that is told, and what each party saw of it.

Every function notes in a scene what there is to see, and what it expects of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastproxy.demo.eavesdropper import Eavesdropper
from fastproxy.demo.scene import Scene
from fastproxy.demo.stage import Answer, Proxy, Stage, call
from fastproxy.errors import TABLE

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CONTENT = "param=hello"
SENT, OVERHEARD, GOT, BACK = "the caller sends", "an eavesdropper sees", "the service gets", "what comes back"
SPY, REFUSED, ADVICE = "the eavesdropper", "refused by", "what to do"
IN_LOG, IN_COUNT, OUT_COUNT = "in proxy's log", "in proxy's count", "out proxy's count"
HEX_ROWS = 3


def named(caller: str) -> dict[str, str]:
    """Return the header fields of a form that names its caller."""
    return {**FORM, "C_ServiceName": caller}


def post(scene: Scene, proxy: Proxy, service: str, headers: Mapping[str, str]) -> Answer:
    """Make the record's request of a service, and tell it."""
    target = f"/{service}/api/service"
    shown = "".join(f"\n{name}: {value}" for name, value in headers.items() if name not in FORM)
    scene.tell(SENT, f"POST {target}   {CONTENT}{shown}")
    return call(proxy, "POST", target, headers, CONTENT)


def tell_answer(scene: Scene, answer: Answer, status: int) -> None:
    """Show what came back, and expect this status."""
    problem = answer.problem()
    if problem:
        title, detail = problem.get("title"), problem.get("detail")
        scene.tell(BACK, f"{answer.status}   {title}" + (f"\n({detail})" if detail != title else ""))
    else:
        scene.tell(BACK, f"{answer.status}   {answer.body[:200].strip()}")
    scene.expect("status", answer.status, status)


def expect_success(scene: Scene, stage: Stage, answer: Answer, caller: str, service: str) -> None:
    """The service was called by this caller, just now, and its answer is what came back."""
    got = tuple(stage.services[service].got)[-1:]
    for request in got:
        scene.tell(
            GOT,
            f"{request.method} {request.path}   {request.body}\nFastproxy-Caller: {request.caller} "
            "(proven by its key, said by the in proxy)",
        )
    wanted = [("POST", "/api/service", caller, CONTENT)]
    scene.expect("what the service got", [tuple(request) for request in got], wanted)
    tell_answer(scene, answer, 200)
    body = f'{{"service": "{service}", "caller": "{caller}", "you_sent": "{CONTENT}"}}\n'
    scene.expect("the answer's body", answer.body, body)


def expect_refusal(
    scene: Scene, answer: Answer, proxy: Proxy, status: int, hop: str, cause: str, phase: str
) -> None:
    """The answer itself says who refused, where and why; so does that proxy's log, under the same id."""
    problem = answer.problem()
    tell_answer(scene, answer, status)
    if problem:
        scene.tell(
            REFUSED, f"the {problem.get('hop')} proxy, phase {problem.get('phase')}: {problem.get('cause')}"
        )
        scene.tell(ADVICE, str(problem.get("advice")))
    found = (problem.get("hop"), problem.get("cause"), problem.get("phase"))
    scene.expect("hop, cause and phase in the answer", found, (hop, cause, phase))
    exchange = problem.get("exchange")
    if exchange is not None:
        line = proxy.await_line(lambda line: line.get("exchange") == exchange and line.get("cause") == cause)
        scene.expect(f"whether the {hop} proxy logged the refusal under the answer's id", bool(line), True)


def tell_logged(scene: Scene, stage: Stage, logged_before: int, cause: str) -> None:
    """Show a refusal that only the in proxy's log tells of: whoever proves nothing learns nothing."""

    def is_refusal(line: dict[str, Any]) -> bool:
        return line.get("logger") == "fastproxy.exchange" and "cause" in line

    line = stage.in_proxy.await_line(is_refusal, skip=logged_before) or {}
    if line:
        scene.tell(REFUSED, f"the in proxy, phase {line.get('phase')}: {line.get('cause')}")
        row = TABLE.get(str(line.get("cause")))
        scene.tell(IN_LOG, row.title if row else str(line))
    found = (line.get("cause"), line.get("phase"))
    scene.expect("cause and phase in the in proxy's log", found, (cause, "open"))


def tell_counted(
    scene: Scene, label: str, proxy: Proxy, metric: str, cause: str, counted_before: int
) -> None:
    """Show what a proxy counted, and expect that it is one more than before."""
    more = proxy.count(metric, cause) - counted_before
    scene.tell(label, f"{metric}, cause {cause}: {more} more")
    scene.expect(f"how many more there are of {metric} with cause {cause}", more, 1)


def passed(eavesdropper: Eavesdropper, skip: int, *, inward: bool) -> list[bytes]:
    """Return the pieces that passed between the proxies in one direction, after the first `skip` of both."""
    return [piece.data for piece in list(eavesdropper.seen)[skip:] if piece.inward is inward]


def expect_unreadable(scene: Scene, seen: bytes, *names: str) -> None:
    """Nothing of a call can be read in these bytes, and there are some."""
    scene.expect("whether anything passed between the proxies", bool(seen), True)
    for word in ("param", "hello", "/api/", *names):
        scene.expect(f"whether an eavesdropper can read {word}", word.encode() in seen, False)


def got_count(stage: Stage) -> int:
    """Return how many requests have reached the services."""
    return sum(len(service.got) for service in stage.services.values())
