"""What the short way knows holds no longer than it may, and is no help to an attacker."""

from __future__ import annotations

import gc
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from fastproxy.model import Endpoint
from fastproxy.net.connection import Connection
from fastproxy.proxy.fields import PLANS_PER_HEAD
from fastproxy.proxy.http_lane import HttpLane
from fastproxy.proxy.in_flow import InFlight
from fastproxy.proxy.known_call import KNOWN_CALLS
from fastproxy.proxy.out_flow import OutFlight
from fastproxy.proxy.to_service import ServiceLane
from tests.net.kit import Wire
from tests.proxy.stage import OPEN_TO_ALL, Stage, answer, request
from tests.proxy.twice import ASKED, perform_twice

KNOWN_CALL_BYTES = 8192
"""What `known_call` says of each call that it knows, with lanes to so many endpoints."""
ENDPOINTS = 4
OTHER = Endpoint("192.0.2.77", 80)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

# --- what was decided is decided no more ------------------------------------------------------------------


def test_rates_hold() -> None:
    rate = {"rate": {"per_s": 1, "burst": 5}}
    inner = {"privileges": [{"callers": ["caller"], "services": ["search_service"], **rate}]}

    def play(stage: Stage, caller: Wire) -> list[bytes]:
        seen = [part for _ in range(4) for part in stage.call(caller, ASKED)]
        stage.clock.advance(1)
        return [*seen, *stage.call(caller, ASKED), *stage.call(caller, ASKED)]

    seen = perform_twice(play, inner=inner)
    statuses = [said[9:12] for said in seen[1:12:2]]
    assert statuses == [b"200", b"200", b"429", b"429", b"200", b"429"]


@pytest.mark.parametrize("role", ["out", "in"])
def test_the_limit_of_exchanges_holds(role: str) -> None:
    limit = {"limits": {"in_flight": 1}}

    def play(stage: Stage, caller: Wire) -> list[bytes]:
        second = stage.caller()
        service = stage.ask(caller, ASKED)
        assert service is not None
        stage.ask(second, ASKED)
        seen = [second.take(), stage.tell(service, answer(b"fine")), caller.take()]
        # a refusal counts as long as it isn't read: what had begun before it goes on all the same
        stage.ask(caller, ASKED)
        (second if role == "out" else stage.links[1].far).protocol.pause_writing()
        stage.ask(second, ASKED)
        seen += [stage.tell(service, CHUNKED + b"4\r\nmore\r\n0\r\n\r\n"), caller.take()]
        second.lose()
        return seen

    seen = perform_twice(play, out=limit) if role == "out" else perform_twice(play, inner=limit)
    assert [seen[at][9:12] for at in (0, 2, 4)] == [b"503", b"200", b"200"]
    assert b"more" in seen[4]


def test_an_in_proxy_that_restarts_gets_the_call_again() -> None:
    def play(stage: Stage, caller: Wire) -> list[bytes]:
        stage.restart_inner()
        return [part for _ in range(4) for part in stage.call(caller, ASKED)]

    seen = perform_twice(play)
    assert all(said.startswith(b"HTTP/1.1 200") for said in seen[1:8:2])


def test_an_in_proxy_restarts_behind_connections_that_stay() -> None:
    """A load balancer between the proxies: what is under way is challenged, and sent again."""

    def play(stage: Stage, caller: Wire) -> list[bytes]:
        stage.inner = stage._proxy(stage._files[1])
        for link in stage.links:
            link.far.lose()
            link.far = Wire(Connection(stage.inner.server), ("192.0.2.8", 4712))
        return [part for _ in range(4) for part in stage.call(caller, ASKED)]

    seen = perform_twice(play)
    assert all(said.startswith(b"HTTP/1.1 200") for said in seen[1:8:2])


def test_a_challenge_that_comes_too_late_ends_the_call() -> None:
    def play(stage: Stage, caller: Wire) -> list[bytes]:
        stage.inner = stage._proxy(stage._files[1])
        link = stage.links[-1]
        link.far.lose()
        link.far = Wire(Connection(stage.inner.server), ("192.0.2.8", 4712))
        caller.receive(ASKED)
        stage.end_turn()
        link.far.receive(link.take())
        stage.end_turn()
        stage.clock.now += 16  # the answer comes in the same turn of the loop as the deadline
        link.receive(link.far.take())
        return [caller.take()]

    assert perform_twice(play)[0].startswith(b"HTTP/1.1 504")


def sessions_of(sealed: list[bytes]) -> set[bytes]:
    return {message[message.index(b"FPV2") :][6:56] for message in sealed}


def test_a_session_is_renewed() -> None:
    def play(stage: Stage, caller: Wire) -> list[bytes]:
        sealed = []
        for wait_s in (599, 2, 0, 0, 0):
            stage.clock.advance(wait_s)
            caller = stage.caller()
            caller.receive(ASKED)
            stage.end_turn()
            sealed.append(stage.links[-1].written)
            stage.carry()
            stage.tell(stage.asked[-1], answer(b"fine"))
            assert caller.take().endswith(b"fine")
        assert len(sessions_of(sealed[1:])) == 1
        assert sessions_of(sealed[:1]) != sessions_of(sealed[1:])
        return []

    perform_twice(play)


@pytest.mark.parametrize("role", ["out", "in"])
def test_endpoints_move_and_the_short_way_is_found_again(role: str) -> None:
    def play(stage: Stage, caller: Wire) -> list[bytes]:
        proxy = stage.outer if role == "out" else stage.inner
        before = len(stage.links), len(stage.services)
        proxy.parts.sources[0].endpoints = (OTHER,)
        seen = [part for _ in range(3) for part in stage.call(caller, ASKED)]
        after = len(stage.links), len(stage.services)
        assert (after[0] - before[0], after[1] - before[1]) == ((1, 0) if role == "out" else (0, 1))
        if "requests_per_connection" not in str(stage._files[0].read_text()):
            stage.long_ways.update({"out": 0, "in": 0})
            stage.call(caller, ASKED)
            assert stage.long_ways == {"out": 0, "in": 0}, "the way to the old place is all that is known"
        else:
            stage.call(caller, ASKED)
        return seen

    perform_twice(play)


def test_an_endpoint_fails_then_moves_and_the_short_way_is_found_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    with stage.playing():
        caller = stage.warm_up()
        for proxy in (stage.outer, stage.inner):
            source = proxy.parts.sources[0]
            stage.down.update(source.endpoints)
            for wire in stage.links if proxy is stage.outer else stage.services:
                wire.lose()
            for link in stage.links:
                if link.lost:
                    link.far.lose()
            assert stage.call(caller, ASKED)[1].startswith(b"HTTP/1.1 50")
            source.endpoints = (OTHER,)
        for _ in range(4):
            stage.clock.advance(6)
            caller = stage.caller()
            assert stage.call(caller, ASKED)[1].endswith(b"fine")
        stage.long_ways.update({"out": 0, "in": 0})
        stage.call(caller, ASKED)
        assert stage.long_ways == {"out": 0, "in": 0}
        stage.check_nothing_is_left()


def test_calls_go_to_all_endpoints_in_turn(tmp_path: Path) -> None:
    places = ["192.0.2.21:80", "192.0.2.22:80", "192.0.2.23:80"]
    inner = {**OPEN_TO_ALL, "services": {"search_service": {"endpoints": places}}}
    stage = Stage(tmp_path, inner=inner)
    with stage.playing():
        caller = stage.warm_up()
        for _ in range(6):
            stage.call(caller, ASKED)
        stage.long_ways.update({"out": 0, "in": 0})
        hosts = [re.search(rb"host: (\S+)", stage.call(caller, ASKED)[0]) for _ in range(6)]
        assert stage.long_ways == {"out": 0, "in": 0}
        found = [host[1].decode() for host in hosts if host is not None]
        assert sorted(found) == sorted(places * 2)
        assert set(found[:3]) == set(places)


def test_calls_over_their_rate_take_no_turns_of_endpoints(tmp_path: Path) -> None:
    places = ["192.0.2.21:80", "192.0.2.22:80"]
    inner = {
        "privileges": [{"callers": ["*"], "services": ["*"], "rate": {"per_s": 1, "burst": 20}}],
        "services": {"search_service": {"endpoints": places}},
    }
    stage = Stage(tmp_path, inner=inner)
    with stage.playing():
        caller = stage.warm_up()
        while b" 429 " not in stage.call(caller, ASKED)[-1]:
            pass
        found = []
        for _ in range(6):
            stage.clock.advance(1)
            (host,) = re.findall(rb"host: (\S+)", stage.call(caller, ASKED)[0])
            found.append(host)
            assert b" 429 " in stage.call(caller, ASKED)[-1]
        assert found[:2] * 3 == found
        assert len(set(found)) == 2


# --- attacks ----------------------------------------------------------------------------------------------


def test_a_replayed_envelope_is_refused(tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    with stage.playing():
        caller = stage.warm_up()
        caller.receive(ASKED)
        stage.end_turn()
        recorded = stage.links[-1].written
        stage.carry()
        stage.tell(stage.asked[-1], answer(b"fine"))
        attacker = Wire(Connection(stage.inner.server), ("192.0.2.8", 666))  # at the same address, even
        attacker.receive(recorded)
        assert not stage.asked
        assert attacker.take().startswith(b"HTTP/1.1 4")
        stage.call(caller, ASKED)
        changed = bytearray(recorded)
        changed[recorded.index(b"FPV2") + 63] ^= 1  # another counter
        attacker.receive(bytes(changed))
        assert not stage.asked
        assert attacker.take().startswith(b"HTTP/1.1 401")
        stage.check_nothing_is_left()


def test_answers_that_are_swapped_or_changed_reach_nobody(tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    with stage.playing():
        one, two = stage.warm_up(), stage.caller()
        one.receive(ASKED)
        two.receive(ASKED)  # the second connections
        stage.carry()
        for service in stage.asked:
            stage.tell(service, answer(b"fine"))
        one.take(), two.take()
        one.receive(ASKED)
        two.receive(ASKED)
        stage.end_turn()
        for link in stage.links:
            link.far.receive(link.take())
        stage.end_turn()
        for service, said in zip(stage.asked, (b"one!", b"two!"), strict=True):
            service.take()
            service.receive(answer(said))
        stage.end_turn()
        sealed = [link.far.take() for link in stage.links]
        assert all(sealed)
        for link, other in zip(stage.links, reversed(sealed), strict=True):
            link.receive(other)
        for caller in (one, two):
            said = caller.take()
            assert said.startswith(b"HTTP/1.1 502")
            assert b"one!" not in said
            assert b"two!" not in said
        stage.check_nothing_is_left()


@pytest.mark.parametrize("lane", [HttpLane, ServiceLane])
def test_a_mistake_while_sending_is_answered_and_costs_no_connection(
    lane: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("an unforeseen case")

    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    with stage.playing():
        caller = stage.warm_up()
        with monkeypatch.context() as patch:
            patch.setattr(lane, "send", fail)
            caller.receive(ASKED)
            stage.carry()
        assert caller.take().startswith(b"HTTP/1.1 500")
        stage.check_nothing_is_left()
        assert stage.call(caller, ASKED)[1].endswith(b"fine")
        assert (len(stage.links), len(stage.services)) == (1, 1)


# --- memory -----------------------------------------------------------------------------------------------


def test_what_is_known_of_calls_takes_no_more_than_it_may(tmp_path: Path) -> None:
    """As many calls as an in proxy remembers, with heads of the greatest length, to as many endpoints."""
    places = [f"192.0.2.{number}:80" for number in range(20, 20 + ENDPOINTS)]
    stage = Stage(tmp_path, inner={**OPEN_TO_ALL, "services": {"search_service": {"endpoints": places}}})
    parsers = [
        stage.outer.server.parser,
        *(proxy.parts.sealed_parser for proxy in (stage.outer, stage.inner)),
    ]
    known = stage.inner.server.handler.flow.known  # type: ignore[attr-defined]
    with stage.playing():
        caller = stage.warm_up()
        for _ in range(2 * ENDPOINTS):
            stage.call(caller, ASKED)
        tracemalloc.start()
        try:
            for number in range(KNOWN_CALLS - 1):
                for _ in range(2):
                    stage.call(caller, request(target=b"/a?%0840d" % number))
            assert sum(map(len, known.values())) == KNOWN_CALLS
            for parser in parsers:
                parser.forget_requests()
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] < KNOWN_CALLS * KNOWN_CALL_BYTES
            stage.call(caller, request(target=b"/b"))
            stage.call(caller, request(target=b"/b"))
            assert sum(map(len, known.values())) == 1
        finally:
            tracemalloc.stop()
        stage.check_nothing_is_left()


def test_flows_are_kept_for_a_few_peers_only(tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    with stage.playing():
        for number in range(PLANS_PER_HEAD + 2):
            caller = stage.caller(f"192.0.2.{number}")
            for _ in range(3):
                stage.call(caller, ASKED)
        (flows,) = (head.flows for head in stage.outer.server.parser.requests.values())
        assert len(flows) == PLANS_PER_HEAD


def test_a_call_that_fails_leaves_no_work_to_the_garbage_collector(tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    with stage.playing():
        stage.warm_up()
        callers = [stage.caller() for _ in range(3)]
        gc.collect()
        gc.disable()
        try:
            for caller in callers:
                stage.ask(caller, ASKED)
            callers.pop().lose()
            stage.clock.advance(16)
            assert callers.pop().take().startswith(b"HTTP/1.1 504")
            flights = [found for found in gc.get_objects() if isinstance(found, (OutFlight, InFlight))]
            assert not flights
        finally:
            gc.enable()
