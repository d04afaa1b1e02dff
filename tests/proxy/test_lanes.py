"""The short way leads to any number of endpoints, in a bounded room."""

from __future__ import annotations

import gc
import re
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastproxy.model import Endpoint
from fastproxy.policy.balance import Balancer
from fastproxy.proxy.known_call import KnownCall
from fastproxy.proxy.lanes import LaneRoom, Lanes
from tests.e2e.proxies import merged
from tests.net.kit import Wire
from tests.proxy.stage import COMPAT_IN, COMPAT_OUT, OPEN_TO_ALL, Stage, request
from tests.proxy.twice import ASKED

LANE_BYTES = 2048
"""What `lanes.LANES` says of each lane, and of the longest head that is remembered."""
HEAD_BYTES = 1024
MANY = 40
PLACES = [f"192.0.2.{number}:80" for number in range(20, 20 + MANY)]
_HOST = re.compile(rb"host: (\S+)")

# --- made when needed, kept in a bounded room ---------------------------------------------------------------


class PlayedLane:
    """A lane that leads nowhere."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    resume: Any = None


ENDPOINTS = tuple(Endpoint(f"192.0.2.{number}", 80) for number in range(10))


def lanes_of(made: list[Endpoint], room: LaneRoom) -> Lanes[PlayedLane]:
    """Lanes to all endpoints; `made` learns which were made."""

    def make(endpoint: Endpoint) -> PlayedLane:
        made.append(endpoint)
        return PlayedLane(endpoint)

    return Lanes(ENDPOINTS, Balancer(), make, room)


def take(lanes: Lanes[PlayedLane], count: int) -> list[Endpoint | None]:
    taken = (next(lanes.in_turn) for _ in range(count))
    return [None if lane is None else lane.endpoint for lane in taken]


def count_of_lanes() -> int:
    return sum(type(each) is PlayedLane for each in gc.get_objects())


def only_call(stage: Stage) -> KnownCall:
    """The one that the in proxy knows over http."""
    (kinds,) = stage.inner.server.handler.flow.known.values()  # type: ignore[attr-defined]
    (call,) = kinds._calls.values()
    assert isinstance(call, KnownCall)
    return call


def test_each_lane_is_made_at_its_turn_and_once() -> None:
    made: list[Endpoint] = []
    lanes = lanes_of(made, LaneRoom())
    assert take(lanes, 3) == list(ENDPOINTS[:3]) == made
    assert take(lanes, 27) == [*ENDPOINTS[3:], *ENDPOINTS, *ENDPOINTS]
    assert made == list(ENDPOINTS)


def test_a_lane_that_could_not_be_taken_is_made_anew() -> None:
    made: list[Endpoint] = []
    lanes = lanes_of(made, LaneRoom())
    take(lanes, 9)
    lane = next(lanes.in_turn)
    assert lane is not None
    lanes.leave(lane)
    lanes.leave(lane)
    take(lanes, 10)
    assert made == [*ENDPOINTS, ENDPOINTS[9]]


def test_what_can_not_be_made_yet_is_asked_for_again() -> None:
    answers: Iterator[PlayedLane | None] = iter([None, None, PlayedLane(ENDPOINTS[0])])
    lanes = Lanes(ENDPOINTS[:1], Balancer(), lambda _: next(answers), LaneRoom())
    assert take(lanes, 4) == [None, None, ENDPOINTS[0], ENDPOINTS[0]]


@pytest.mark.parametrize("is_made", [True, False])
def test_the_long_way_gets_the_turn_that_could_not_be_taken(is_made: bool) -> None:
    """Nothing would ever lead to an endpoint that has no connection, were its turn lost each time."""
    balancer = Balancer()
    lanes = Lanes(ENDPOINTS, balancer, lambda place: PlayedLane(place) if is_made else None, LaneRoom())
    for endpoint in (*ENDPOINTS, *ENDPOINTS):
        lane = next(lanes.in_turn)
        if lane is not None:
            lanes.leave(lane)
        assert balancer.pick(ENDPOINTS, (), 0.0) == endpoint


def test_no_more_lanes_are_kept_than_there_is_room_for() -> None:
    room = LaneRoom(25)
    before = count_of_lanes()
    made: list[Endpoint] = []
    heads = [lanes_of(made, room) for _ in range(20)]
    for lanes in heads:
        assert take(lanes, 10) == list(ENDPOINTS)
        assert count_of_lanes() - before <= 25
    assert count_of_lanes() - before == 25
    made.clear()
    assert take(heads[-1], 10) == list(ENDPOINTS)
    assert not made, "the newest are kept"
    assert take(heads[0], 10) == list(ENDPOINTS)
    assert made == list(ENDPOINTS), "the oldest are gone"


def test_a_lane_that_is_made_anew_again_and_again_takes_the_room_of_one() -> None:
    made: list[Endpoint] = []
    lanes = lanes_of(made, LaneRoom(len(ENDPOINTS)))
    take(lanes, len(ENDPOINTS))
    for _ in ENDPOINTS:
        lane = next(lanes.in_turn)
        assert lane is not None
        if lane.endpoint == ENDPOINTS[0]:
            for _ in range(3 * len(ENDPOINTS)):
                lanes.leave(lane)
                lanes._made[ENDPOINTS[0]]
    made.clear()
    assert take(lanes, len(ENDPOINTS)) == list(ENDPOINTS)
    assert not made, "all others are kept"


def test_the_lanes_of_a_head_that_is_forgotten_go_with_it() -> None:
    room = LaneRoom()
    before = count_of_lanes()
    lanes = lanes_of([], room)
    take(lanes, 10)
    assert count_of_lanes() - before == 10
    gc.disable()  # without it: they are in no cycle
    try:
        del lanes
        assert count_of_lanes() == before
    finally:
        gc.enable()


# --- in both proxies ----------------------------------------------------------------------------------------

WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {"http": ({}, {}), "compat": (COMPAT_OUT, COMPAT_IN)}
SERVICES = {"services": {"search_service": {"endpoints": PLACES}}}


def spread_over(role: str, folder: Path, way: str = "http") -> Stage:
    """A pair of proxies of which one has many endpoints, each with a connection already."""
    out, inner = WAYS[way]
    inner = merged(inner, OPEN_TO_ALL)
    if role == "out":
        out = merged(out, SERVICES)
    else:
        inner = merged(inner, SERVICES)
    return Stage(folder, out=out, inner=inner)


def connect_all(stage: Stage, caller: Wire, message: bytes = ASKED) -> None:
    """Call until nothing takes the long way any more."""
    for _ in range(5 * MANY):
        stage.call(caller, message)
    stage.long_ways.update({"out": 0, "in": 0})


def hosts_called(stage: Stage, caller: Wire, count: int) -> Counter[str]:
    """Which endpoints of the service get how many of some calls, all of which go well."""
    called: Counter[str] = Counter()
    for _ in range(count):
        asked, answered = stage.call(caller, ASKED)
        assert answered.endswith(b"fine")
        host = _HOST.search(asked)
        assert host is not None
        called[host[1].decode()] += 1
    return called


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("role", ["out", "in"])
def test_calls_take_the_short_way_to_many_endpoints(role: str, way: str, tmp_path: Path) -> None:
    stage = spread_over(role, tmp_path, way)
    with stage.playing():
        caller = stage.warm_up(ASKED)
        connect_all(stage, caller)
        assert len(stage.links if role == "out" else stage.services) == MANY
        called = hosts_called(stage, caller, 3 * MANY)
        assert stage.long_ways == {"out": 0, "in": 0 if way == "http" else 3 * MANY}
        if role == "in":
            assert called == dict.fromkeys(PLACES, 3), "each has as many turns"
        stage.check_nothing_is_left()


def test_heads_take_turns_in_one_order(tmp_path: Path) -> None:
    """Many heads of few calls each would else all go to the first endpoint."""
    stage = spread_over("in", tmp_path)
    messages = [request(target=b"/%d" % number, content=b"what") for number in range(5)]
    with stage.playing():
        caller = stage.warm_up(ASKED)
        for message in messages:
            connect_all(stage, caller, message)
        called = Counter(_HOST.findall(stage.call(caller, messages[turn % 5])[0])[0] for turn in range(MANY))
        assert stage.long_ways == {"out": 0, "in": 0}
        assert set(called.values()) == {1}


def test_only_calls_whose_turn_is_at_a_failing_endpoint_take_the_long_way(tmp_path: Path) -> None:
    stage = spread_over("in", tmp_path)
    lost = PLACES[7]
    with stage.playing():
        caller = stage.warm_up(ASKED)
        connect_all(stage, caller)
        stage.down.add(Endpoint("192.0.2.27", 80, lost))
        for pool in stage._pools(stage.inner):
            if str(pool.endpoint) == lost:
                for connection in list(pool.idle):
                    connection.connection_lost(None)
        balancer = only_call(stage).hop.balancer
        for _ in range(5 * MANY):
            assert stage.call(caller, ASKED)[1].endswith(b"fine")
        assert [str(endpoint) for endpoint in balancer.failing] == [lost]
        stage.long_ways.update({"out": 0, "in": 0})
        called = hosts_called(stage, caller, 2 * MANY)
        assert lost not in called
        assert stage.long_ways == {"out": 0, "in": 2}, "one in each round"
        stage.down.clear()
        stage.clock.advance(6)
        connect_all(stage, stage.caller())
        assert not balancer.failing
        assert hosts_called(stage, stage.caller(), MANY) == dict.fromkeys(PLACES, 1)


# An in proxy has no short way over compat.
@pytest.mark.parametrize(
    ("role", "way"),
    [(role, way) for way in WAYS for role in ("out", "in") if (role, way) != ("in", "compat")],
)
def test_a_lane_takes_no_more_than_it_may(role: str, way: str, tmp_path: Path) -> None:
    stage = spread_over(role, tmp_path, way)
    message = request(content=b"what")
    sealed = 100 if role == "in" else 0  # what is sealed with it counts too
    message = request(content=b"what", target=b"/" + b"a" * (HEAD_BYTES - sealed - len(message)))
    with stage.playing():
        caller = stage.warm_up(message)
        connect_all(stage, caller, message)
        if role == "in":
            lanes = only_call(stage).lanes
        else:
            (flow,) = (
                flow for head in stage.outer.server.parser.requests.values() for flow in head.flows.values()
            )
            lanes = flow._lanes
        for _ in range(MANY):
            lane = next(lanes.in_turn)
            assert lane is not None
            lanes.leave(lane)
        gc.collect()
        tracemalloc.start()
        try:
            for _ in range(MANY):
                assert next(lanes.in_turn) is not None
            assert tracemalloc.get_traced_memory()[0] < MANY * LANE_BYTES
        finally:
            tracemalloc.stop()
