"""The pool: who gets which connection, which bounds hold, and that nothing is lost whoever gives up when."""

from __future__ import annotations

import asyncio
import errno
import gc
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.errors import ProxyError
from fastproxy.model import Endpoint
from fastproxy.net.client import ClientConnection
from fastproxy.net.drive import Drive
from fastproxy.net.framing import IncomingBody
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.pool import Pool, PoolLimits, Pools
from fastproxy.net.timers import TICK_S, Wheel
from tests.net.kit import Clock, Run, Wire, call

ENDPOINT = Endpoint("192.0.2.9", 80)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Net(Clock):
    """A network on which a connection is made when the test says so; tasks run on the real loop."""

    def __init__(self) -> None:
        super().__init__()
        self.dialled: list[tuple[Callable[[], asyncio.Protocol], asyncio.Future[None]]] = []
        self.wires: list[Wire] = []
        self.runs: list[Run] = []

    def create_task(self, coroutine: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(coroutine)

    async def create_connection(self, make: Callable[[], asyncio.Protocol], *_: Any) -> tuple[Wire, Any]:
        made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.dialled.append((make, made))
        await made
        wire = Wire(make())
        self.wires.append(wire)
        return wire, wire.protocol

    create_unix_connection = create_connection

    async def connect(self, number: int = -1) -> Wire:
        """Let a connection that was asked for be made."""
        self.dialled[number][1].set_result(None)
        await settle()
        return self.wires[-1]

    async def fail(self, error: Exception, number: int = -1) -> None:
        """Let a connection that was asked for fail."""
        self.dialled[number][1].set_exception(error)
        await settle()


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(8):
        await asyncio.sleep(0)


def play(scene: Callable[[Net], Awaitable[None]]) -> None:
    async def main() -> None:
        net = Net()
        await scene(net)
        for run in net.runs:
            run.drive.cancel()
        await settle()

    asyncio.run(main())


def pool_of(net: Net, **limits: Any) -> Pool:
    wheel = Wheel(net.loop)
    return Pool(ENDPOINT, HeadParser(HeadLimits()), PoolLimits(**limits), wheel, net.loop)


async def acquire(pool: Pool) -> Run:
    run = Run(pool.acquire())
    cast(Net, pool._loop).runs.append(run)
    await settle()
    return run


def use(connection: ClientConnection) -> None:
    """Carry a whole exchange, after which the connection is free."""
    run = Run(call(connection, b"GET", b"GET / HTTP/1.1\r\n\r\n", b"", chunked=False))
    connection.data_received(ANSWER)
    assert run.done


def cause(run: Run) -> str:
    assert isinstance(run.error, ProxyError)
    assert not run.error.sent
    return run.error.cause.label


def assert_nothing_is_left(pool: Pool) -> None:
    assert pool.unused
    assert pool._connecting == 0
    assert not pool.idle


# --- who gets which ---------------------------------------------------------------------------------------


def test_a_new_one_then_the_one_used_last() -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net)
        first, second = await acquire(pool), await acquire(pool)
        await net.connect(0)
        await net.connect(1)
        assert (pool.size, pool.opened) == (2, 2)
        use(first.value())
        use(second.value())
        assert (await acquire(pool)).value() is second.value()
        assert (await acquire(pool)).value() is first.value()
        assert len(net.dialled) == 2

    play(scene)


def test_those_over_the_bound_are_served_in_the_order_in_which_they_came() -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net, connections=1)
        holder = await acquire(pool)
        waiting = [await acquire(pool) for _ in range(3)]
        await net.connect()
        assert [run.done for run in waiting] == [False, False, False]
        for number, run in enumerate(waiting):
            use(holder.value())
            assert [each.done for each in waiting] == [each <= number for each in range(3)]
            assert run.value() is holder.value()
        assert len(net.dialled) == 1

    play(scene)


def test_the_line_is_bounded() -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net, connections=1, waiting=1)
        await acquire(pool)
        await acquire(pool)
        assert cause(await acquire(pool)) == "pool_exhausted"

    play(scene)


def test_a_connection_that_is_being_made_counts_against_the_bound() -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net, connections=2)
        runs = [await acquire(pool) for _ in range(4)]
        assert len(net.dialled) == 2
        await net.connect(0)
        await net.connect(1)
        assert (len(net.dialled), pool.size) == (2, 2)
        assert [run.done for run in runs] == [True, True, False, False]

    play(scene)


def test_whoever_waits_gets_a_new_connection_when_an_old_one_is_lost() -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net, connections=1)
        await acquire(pool)
        wire = await net.connect()
        waiting = await acquire(pool)
        wire.lose()
        await settle()
        assert len(net.dialled) == 2
        await net.connect()
        assert waiting.value().endpoint is ENDPOINT
        assert pool.size == 1

    play(scene)


def test_whoever_waits_tries_for_himself_when_a_connection_can_not_be_made() -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net, connections=1)
        first, second = await acquire(pool), await acquire(pool)
        await net.fail(ConnectionRefusedError(111, "refused"))
        assert cause(first) == "connect_refused"
        await net.fail(TimeoutError())
        assert cause(second) == "connect_timeout"
        assert_nothing_is_left(pool)

    play(scene)


def test_a_kept_connection_that_was_lost_is_not_given_out() -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net)
        run = await acquire(pool)
        wire = await net.connect()
        use(run.value())
        wire.end()
        assert_nothing_is_left(pool)
        await acquire(pool)
        assert len(net.dialled) == 2

    play(scene)


def test_a_connection_that_is_closed_at_once_is_refused_and_not_counted() -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net)
        run = await acquire(pool)
        net.dialled[0][1].set_result(None)
        await asyncio.sleep(0)
        net.wires[0].lose()  # before anybody was told that it is there
        await settle()
        assert cause(run) == "connect_refused"
        assert_nothing_is_left(pool)

    play(scene)


# --- giving up --------------------------------------------------------------------------------------------


def test_giving_up_in_line_leaves_the_others_their_places() -> None:
    for given_up in range(3):

        async def scene(net: Net, given_up: int = given_up) -> None:
            pool = pool_of(net, connections=1)
            holder = await acquire(pool)
            await net.connect()
            waiting = [await acquire(pool) for _ in range(3)]
            waiting.pop(given_up).drive.cancel()
            for run in waiting:
                use(holder.value())
                assert run.value() is holder.value()
            use(holder.value())
            assert (len(pool.idle), len(pool._line), pool.size) == (1, 0, 1)

        play(scene)


def test_giving_up_while_connecting_lets_the_next_one_try() -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net, connections=1)
        first, second = await acquire(pool), await acquire(pool)
        first.drive.cancel()
        await settle()
        assert net.dialled[0][1].cancelled()
        await net.connect()
        assert second.done
        assert (pool.size, pool._connecting) == (1, 0)

    play(scene)


@pytest.mark.parametrize("turns", range(6))
def test_giving_up_at_any_moment_of_being_connected_leaks_no_connection(turns: int) -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net, connections=1)
        run = Run(pool.acquire())
        await settle()
        net.dialled[0][1].set_result(None)
        for _ in range(turns):
            await asyncio.sleep(0)
        was_done = run.done
        run.drive.cancel()
        await settle()
        if was_done:
            run.value().abort()
        for wire in net.wires:
            assert wire.aborted
            wire.lose()
        assert_nothing_is_left(pool)

    play(scene)


def test_giving_up_at_any_moment_leaves_the_collector_nothing() -> None:
    """uvloop tells nobody of the end of a connection when the attempt is cancelled just after it was made."""

    def connections() -> int:
        return sum(type(each) is ClientConnection for each in gc.get_objects())

    async def is_there_after(turns: int, pool: Pool) -> bool:
        """Give up after so many turns of the loop; return whether there was a connection by then."""
        acquired: list[ClientConnection] = []

        async def acquire() -> None:
            acquired.append(await pool.acquire())

        drive = Drive(lambda error: None)  # a `Run` would keep the error, and all that it went through
        drive.start(acquire())
        for _ in range(turns):
            await asyncio.sleep(0)
        drive.cancel()
        for connection in acquired:
            connection.abort()
        return bool(acquired)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
        pool = Pool(endpoint, HeadParser(HeadLimits()), PoolLimits(), Wheel(loop), loop)
        left, turns, was_there = [], 0, False
        gc.disable()
        try:
            before = connections()
            while not was_there:
                was_there = await is_there_after(turns, pool)
                await settle()
                left.append(connections() - before)
                turns += 1
        finally:
            gc.enable()
            server.close()
        assert left == [0] * turns
        assert_nothing_is_left(pool)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


STEPS = st.lists(st.tuples(st.sampled_from(["acquire", "connect", "fail", "use", "lose", "cancel"]),
                           st.integers(0, 5)), max_size=40)  # fmt: skip


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_the_bound_holds_and_nothing_is_lost(steps: list[tuple[str, int]]) -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net, connections=2, waiting=3)
        runs: list[Run] = []

        def holders() -> list[ClientConnection]:
            return [run.result for run in runs if run.result is not None and not run.result.closed]

        async def take(step: str, number: int) -> None:
            pending = [each for each in net.dialled if not each[1].done()]
            waiting = [run for run in runs if not run.done]
            if step == "acquire":
                runs.append(await acquire(pool))
            elif step in ("connect", "fail") and pending:
                made = pending[number % len(pending)][1]
                made.set_result(None) if step == "connect" else made.set_exception(OSError("no"))
            elif step == "use" and holders():
                connection = holders()[number % len(holders())]
                for run in runs:
                    if run.result is connection:
                        run.result = None
                use(connection)
            elif step == "lose" and net.wires:
                net.wires[number % len(net.wires)].lose()
            elif step == "cancel" and waiting:
                waiting[number % len(waiting)].drive.cancel()
            await settle()

        for step, number in steps:
            await take(step, number)
            assert pool.size + pool._connecting <= 2
            assert len(pool._line) <= 3
            assert len(holders()) == len(set(map(id, holders())))  # nobody shares a connection
            room = 2 - pool.size - pool._connecting
            assert not (pool._line and (room or pool.idle))  # nobody waits for what is there
        for run in runs:
            run.drive.cancel()
        await settle()
        for wire in net.wires:
            wire.lose()
        assert_nothing_is_left(pool)

    play(scene)


# --- idle connections, and the end ------------------------------------------------------------------------


def test_idle_connections_are_closed_in_time_and_no_others() -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net, idle_timeout_s=4.5)
        runs = [await acquire(pool) for _ in range(3)]
        wires = [await net.connect(number) for number in range(3)]
        use(runs[0].value())
        net.advance(2)
        use(runs[1].value())
        net.advance(2.49)
        assert not any(wire.closing for wire in wires)
        net.advance(0.01 + 3 * TICK_S)
        assert [wire.closing for wire in wires] == [True, False, False]
        net.advance(2)
        assert [wire.closing for wire in wires] == [True, True, False]
        for wire in wires:
            wire.lose()
        assert_nothing_is_left(pool)

    play(scene)


def test_closing_ends_the_idle_now_and_the_others_when_they_are_through() -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net)
        runs = [await acquire(pool) for _ in range(2)]
        wires = [await net.connect(number) for number in range(2)]
        use(runs[0].value())
        pool.close()
        assert [wire.closing for wire in wires] == [True, False]
        use(runs[1].value())
        assert [wire.closing for wire in wires] == [True, True]

    play(scene)


def test_cutting_off_ends_all() -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net)
        await acquire(pool)
        wire = await net.connect()
        pool.abort()
        assert wire.aborted

    play(scene)


def test_pools_of_endpoints_that_are_gone_are_forgotten() -> None:
    async def scene(net: Net) -> None:
        pools = Pools(HeadParser(HeadLimits()), PoolLimits(), Wheel(net.loop), net.loop)
        for number in range(300):
            run = Run(pools.acquire(Endpoint("192.0.2.9", 1000 + number)))
            await settle()
            wire = await net.connect()
            assert run.done
            wire.lose()
        assert len(pools._pools) <= 65
        assert (pools.opened, pools.size) == (300, 0)

    play(scene)


def test_unix_sockets_have_no_port() -> None:
    async def scene(net: Net) -> None:
        pools = Pools(HeadParser(HeadLimits()), PoolLimits(), Wheel(net.loop), net.loop)
        run = Run(pools.acquire(Endpoint("/run/service", 0)))
        await settle()
        await net.connect()
        use(run.value())
        again = Run(pools.acquire(Endpoint("/run/service", 0)))
        assert again.value() is run.value()
        pools.close()
        pools.abort()

    play(scene)


# --- endpoints that leave ---------------------------------------------------------------------------------


@pytest.mark.parametrize("leaves_at_once", [True, False])
def test_an_answer_that_ends_its_connection_tells_that_the_endpoint_leaves(leaves_at_once: bool) -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net, leaves_at_once=leaves_at_once)
        connections = []
        for _ in range(3):
            run = await acquire(pool)
            await net.connect()
            await settle()
            connections.append(run.value())
        for connection in connections[1:]:
            use(connection)
        last = Run(call(connections[0], b"GET", b"GET / HTTP/1.1\r\n\r\n", b"", chunked=False))
        connections[0].data_received(ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert last.done
        net.wires[0].lose()
        assert [wire.closing for wire in net.wires[1:]] == [leaves_at_once] * 2
        assert (pool.take() is None) == leaves_at_once

    play(scene)


def test_who_ends_a_new_connection_by_its_first_answer_is_told_of_and_nobody_else() -> None:
    """Else an endpoint that ends each connection after some requests would seem to leave all the time."""

    async def scene(net: Net) -> None:
        endpoint, told = Endpoint("10.0.0.1", 80), list[Endpoint]()
        pools = Pools(HeadParser(HeadLimits()), PoolLimits(leaves_at_once=True), Wheel(net.loop), net.loop)
        pools.on_leaving = told.append
        last = ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        for answers, leaves in (([ANSWER, last], False), ([last], True)):
            run = Run(pools.acquire(endpoint))
            await settle()
            await net.connect()
            for answer in answers:
                exchange = Run(call(run.value(), b"GET", b"GET / HTTP/1.1\r\n\r\n", b"", chunked=False))
                run.value().data_received(answer)
                assert exchange.done
            net.wires[-1].lose()
            assert told == [endpoint] * leaves

    play(scene)


def test_an_answer_before_its_request_was_through_does_not_tell_that_the_endpoint_leaves() -> None:
    """It ends its connection for that alone: who is refused may not keep others from the endpoint."""

    async def scene(net: Net) -> None:
        told = list[Endpoint]()
        pools = Pools(HeadParser(HeadLimits()), PoolLimits(leaves_at_once=True), Wheel(net.loop), net.loop)
        pools.on_leaving = told.append
        run = Run(pools.acquire(Endpoint("10.0.0.1", 80)))
        await settle()
        await net.connect()
        body = IncomingBody(None, None, lambda: None, lambda: None, lambda: None)
        head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        exchange = Run(call(run.value(), b"POST", head, body, chunked=True))
        run.value().data_received(ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert exchange.done
        net.wires[-1].lose()
        assert told == []

    play(scene)


def test_no_descriptor_for_a_connection_is_a_shortage_of_this_side() -> None:
    async def scene(net: Net) -> None:
        pool = pool_of(net)
        for number in (errno.EMFILE, errno.ENFILE):
            run = await acquire(pool)
            await net.fail(OSError(number, "Too many open files"))
            assert cause(run) == "descriptors_exhausted"
        assert_nothing_is_left(pool)

    play(scene)
