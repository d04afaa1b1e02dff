"""A fault: a small, real cause put into a running pair, and all that has to tell of it.

The answer, both proxies' logs, their metrics and what they keep of failures are asked for one and the same
cause, hop and phase. The tables of faults stand beside the tests that inject them, by phase.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastproxy.errors import TABLE
from tests.e2e.client import Answer, fetch
from tests.e2e.proxies import Config, Line, ProxyProcess
from tests.e2e.relay import Relay
from tests.e2e.services import ScriptedService
from tests.e2e.test_why import told

Failure = dict[str, Any]
OUT, IN = "out", "in"

TELLING: Config = {"admin": {"open": ["reading"]}}
"""What both proxies need for a test to read what they keep."""


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """What the in proxy alone knows of a refusal: whoever proves nothing is told nothing.

    cause: as its log, its metric and its record name it. advice: a word of what is to be done.
    number: the name of one of those that decided it.
    """

    cause: str
    phase: str = "open"
    advice: str = ""
    number: str = ""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One of them.

    name: what was done. inject: does it, and returns what the caller got.
    cause, hop, phase: what it has to be found to be. detail: words that the particulars have.
    status: of the answer where it isn't the cause's: 200 where it breaks off.
    numbers: names of what decided it, with the value where the test has set it, None where it only has to be
    there. hidden: what the in proxy has of it besides. is_direct: no out proxy had a part in it.
    seen_as: the out proxy's own cause where the in proxy breaks an answer off and can't say why any more.
    """

    name: str
    inject: Callable[[Any], Answer]
    cause: str
    hop: str
    phase: str
    detail: str = ""
    status: int = 0
    numbers: Mapping[str, float | str | None] = field(default_factory=dict)
    hidden: Hidden | None = None
    is_direct: bool = False
    seen_as: str = ""

    @property
    def key(self) -> tuple[str, ...]:
        """What tells its cause from those of all others."""
        inside = (self.hidden.cause, self.hidden.number) if self.hidden else ()
        return self.cause, self.hop, self.phase, self.detail, *inside


@dataclass
class Scene:
    """What faults are put into: an out and an in proxy, the services behind them by name, and who stands
    between the two, where anybody does.
    """

    out: ProxyProcess
    inner: ProxyProcess
    services: Mapping[str, ScriptedService] = field(default_factory=dict)
    between: Relay | None = None

    @property
    def relay(self) -> Relay:
        """Who stands between the two."""
        assert self.between is not None
        return self.between

    def fetch(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: list[str] | tuple[str, ...] = (),
    ) -> Answer:
        """Make one request of a caller on a connection of its own."""
        return fetch(self.out.listen, method, target, body, headers)


def check(fault: Fault, scene: Scene) -> None:
    """Put a fault into a scene, and see that everything tells the right cause."""
    decider = scene.out if fault.hop == OUT else scene.inner
    counted = decider.metrics().refusals(fault.cause)
    counted_inside = _counted(fault.hidden, scene.inner) if fault.hidden else 0.0
    answer = fault.inject(scene)
    exchange = _in_the_answer(fault, answer)
    _in_the_logs(fault, scene, exchange)
    _in_the_record(fault, _kept(decider, exchange, fault.cause))
    decider.wait_for_count(fault.cause, counted + 1)
    if fault.hop == IN and not fault.is_direct:
        _passed_on(fault, _kept(scene.out, exchange, fault.seen_as or fault.cause))
    if fault.hidden is not None:
        _inside(fault.hidden, scene.inner, counted_inside)


def _in_the_answer(fault: Fault, answer: Answer) -> str:
    row = TABLE[fault.cause]
    assert answer.status == (fault.status or row.status), answer.body
    if answer.status != row.status:  # its head had gone on before anything was wrong
        assert not answer.whole
        return answer.exchange
    problem = answer.problem
    assert (problem["cause"], problem["hop"], problem["phase"]) == (fault.cause, fault.hop, fault.phase)
    assert (problem["title"], problem["advice"]) == (row.title, row.advice)
    assert fault.detail in problem["detail"], problem["detail"]
    assert problem["type"] == f"urn:fastproxy:error:{fault.cause}"
    exchange = str(problem["exchange"])
    assert answer.exchange == ("" if fault.is_direct else exchange)
    status = answer.get("proxy-status")
    assert status.startswith(f"{problem['proxy']}; error={row.proxy_error};"), status
    assert f'details="{fault.cause} in {fault.phase}' in status
    return exchange


def _in_the_logs(fault: Fault, scene: Scene, exchange: str) -> None:
    decider = scene.out if fault.hop == OUT else scene.inner
    line: Line = decider.log.wait_for(exchange=exchange, cause=fault.cause)
    is_broken_off = fault.status == 200
    wanted = "broken off" if is_broken_off else "refused" if TABLE[fault.cause].status < 500 else "failed"
    assert (line["message"], line["phase"]) == (wanted, fault.phase), line
    assert fault.detail in line["detail"]
    decider.access.wait_for(id=exchange, cause=fault.cause)
    if decider is not scene.out and not fault.is_direct:
        scene.out.access.wait_for(id=exchange, cause=fault.seen_as or fault.cause)


def _in_the_record(fault: Fault, failure: Failure) -> None:
    row = TABLE[fault.cause]
    assert (failure["cause"], failure["phase"], failure["role"]) == (fault.cause, fault.phase, fault.hop)
    assert (failure["from"], failure["is_enforced"]) == ("here", True)
    assert (failure["title"], failure["advice"]) == (row.title, row.advice)
    assert failure["status"] == (fault.status or row.status)
    assert fault.detail in failure["detail"]
    for name, value in fault.numbers.items():
        assert name in failure["numbers"], failure["numbers"]
        assert value in (None, failure["numbers"][name]), (name, failure["numbers"][name])


def _passed_on(fault: Fault, failure: Failure) -> None:
    assert failure["role"] == OUT
    if fault.seen_as:
        assert (failure["phase"], failure["from"]) == ("answer", "here")
        return
    assert failure["from"] == "next hop"
    assert (failure["phase"], failure["status"]) == (fault.phase, TABLE[fault.cause].status)
    assert fault.detail in failure["detail"]


def _kept(proxy: ProxyProcess, exchange: str, cause: str) -> Failure:
    failures = told(proxy, f"exchanges/{exchange}")["failures"]
    (failure,) = [each for each in failures if each["cause"] == cause]
    return dict(failure)


def _counted(hidden: Hidden, inner: ProxyProcess) -> float:
    metrics = inner.metrics()
    if hidden.phase == "handshake":
        return metrics.total("fastproxy_link_handshake_failures_total", cause=hidden.cause)
    return metrics.refusals(hidden.cause)


def _inside(hidden: Hidden, inner: ProxyProcess, counted: float) -> None:
    is_handshake = hidden.phase == "handshake"
    if is_handshake:
        line = inner.log.wait_for(message="a link was refused", cause=hidden.cause)
    else:
        line = inner.log.wait_for(message="refused", cause=hidden.cause, phase=hidden.phase)
    assert _counted(hidden, inner) > counted
    kept_as = f"handshake_{hidden.cause}" if is_handshake else hidden.cause
    newest = told(inner, f"failures?cause={kept_as}&limit=1")["failures"][0]
    assert (newest["phase"], newest["peer"], newest["from"]) == (hidden.phase, line["peer"], "here")
    assert hidden.advice in newest["advice"]
    assert hidden.number in ("", *newest["numbers"])
