"""The scene of a restart: an in proxy ends and another takes its place, while calls go on."""

from __future__ import annotations

import threading
import time
from http.client import HTTPException

from fastproxy.demo.scene import Scene
from fastproxy.demo.stage import Proxy, Stage, call
from fastproxy.demo.witness import BACK, GOT, named

CALLERS = 4
_PAUSE_S = 0.01
_CALLS_AROUND = 20
"""How many calls there are before the restart, and after it."""
_CALLS_LIMIT_S = 20.0


def restarted_under_calls(stage: Stage) -> Scene:
    """The in proxy gets SIGTERM under calls; none of them fails, and none is made twice."""
    scene = Scene("A restart: the in proxy ends by SIGTERM and starts again, under calls")
    scene.tell(
        "callers send",
        f"POST /order_service/api/service, {CALLERS} at a time, each with a number\n"
        "C_ServiceName: chat_service",
    )
    with _Calls(stage.out_proxy) as calls:
        scene.expect("whether calls went on before", calls.await_more(_CALLS_AROUND), True)
        port = stage.in_proxy.port
        began_s = time.monotonic()
        ended = stage.in_proxy.end()
        scene.tell("the in proxy", "says on its links that it takes no more, ends what it has, and is gone")
        scene.expect("whether it ended in order", ended, True)
        stage.in_proxy.start_again(stage.in_config(port))
        stage.in_proxy.await_ready()
        scene.tell(
            "the in proxy",
            f"listens again after {time.monotonic() - began_s:.1f} s; calls have waited at the out proxy",
        )
        scene.expect("whether calls went on after", calls.await_more(_CALLS_AROUND), True)
    failed = [answer for answer in calls.answers if answer != "200"]
    scene.tell(BACK, ", ".join([f"{len(calls.answers)} answers, {len(failed)} of them no 200", *failed[:1]]))
    scene.expect("calls that failed", len(failed), 0)
    got = [request.body for request in stage.services["order_service"].got]
    scene.tell(GOT, f"{len(got)} requests, {len(got) - len(set(got))} of them twice")
    scene.expect("what the service got", sorted(got), sorted(calls.sent))
    return scene


class _Calls:
    """Calls of some callers, each making one after the other, from entering the block until it is left.

    sent: bodies of all requests. answers: statuses, or what came instead.
    """

    def __init__(self, out_proxy: Proxy) -> None:
        self.sent: list[str] = []
        self.answers: list[str] = []
        self._out_proxy = out_proxy
        self._stop = threading.Event()
        self._answered = threading.Condition()
        self._threads = [threading.Thread(target=self._go_on, args=(number,)) for number in range(CALLERS)]

    def __enter__(self) -> _Calls:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def await_more(self, count: int) -> bool:
        """Wait until `count` more calls have been answered; False when that takes too long."""
        with self._answered:
            wanted = len(self.answers) + count
            return self._answered.wait_for(lambda: len(self.answers) >= wanted, _CALLS_LIMIT_S)

    def _go_on(self, number: int) -> None:
        made = 0
        while not self._stop.wait(_PAUSE_S):
            made += 1
            body = f"order={number}.{made}"
            self.sent.append(body)
            try:
                answer = call(
                    self._out_proxy, "POST", "/order_service/api/service", named("chat_service"), body
                )
                result = str(answer.status) if answer.status == 200 else f"{answer.status} {answer.body}"
            except (OSError, HTTPException) as exc:
                result = f"{type(exc).__name__}: {exc}"
            with self._answered:
                self.answers.append(result)
                self._answered.notify()
