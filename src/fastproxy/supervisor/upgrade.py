"""One program in place of another, in the process that owns a proxy: how it goes, and how it comes.

    try        the new program tries itself (`rehearsal`); if it doesn't start, nothing has happened
    rest       nothing is said to workers any more, and signals wait; workers carry exchanges all the while
    leave      what there is goes into memory, and the process becomes the new program (`legacy`)
    take over  that goes on with sockets, workers and counters before it opens or starts anything of its own
    replace    it has workers of its own take connections, on the same sockets; the former ones drain. As long
               as its own don't start the former ones serve on, and it tries again

Knows nothing of reloads or how a proxy ends: the supervisor has an upgrade take its turn with those.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from fastproxy import __version__
from fastproxy.config.address import parse_address
from fastproxy.config.snapshot import Snapshot
from fastproxy.control.ledger import Ledger, ledger_for
from fastproxy.control.messages import encode
from fastproxy.supervisor.crew import Crew, Shared, Terms
from fastproxy.supervisor.door import Asked, Door, RefusedError
from fastproxy.supervisor.legacy import (
    FORMAT,
    Bound,
    Legacy,
    Particulars,
    hold_signals,
    leave,
    release_signals,
)
from fastproxy.supervisor.listeners import Listeners
from fastproxy.supervisor.process import Inherited, WorkerProcess, adopted
from fastproxy.supervisor.tally import Tally

_REST_LIMIT_S = 5.0
"""How long channels may take to come to rest: messages are short, and workers read them at once."""


class _Arguments(msgspec.Struct, forbid_unknown_fields=True):
    """What `upgrade` is asked with. python: interpreter of the new program; "" for that of this one."""

    python: str = ""


def interpreter(asked: Asked) -> str:
    """Return the interpreter that an upgrade is to go to.

    Raises:
        RefusedError: it is asked for in the wrong way.
    """
    try:
        return msgspec.convert(asked.args, _Arguments).python or sys.executable
    except msgspec.ValidationError as error:
        raise RefusedError(f"upgrade: {error}") from error


class Belongings(NamedTuple):
    """What a program goes with.

    workers: all that there are. crew: those that serve. shared: as the crews have it. tally: what is counted.
    admin: the sockets of the admin address, and that as the config says it; None where there is none.
    door: where commands come in. unknown: descriptors of workers that this program doesn't know.
    reload_is_due: whether one waits for its turn. command_pid: of the command that runs with it, 0 for none.
    """

    workers: list[WorkerProcess]
    crew: Crew
    shared: Shared
    tally: Tally
    admin: tuple[tuple[socket.socket, ...], str] | None
    door: Door
    unknown: tuple[int, ...]
    reload_is_due: bool
    command_pid: int


async def become(
    python: str,
    arguments: Sequence[str],
    snapshot_fd: int,
    what: Belongings,
    asker: int,
    is_over: Callable[[], bool],
) -> None:
    """Become the new program; returns only by failing, and then all is as it was.

    Args:
        python: its interpreter. arguments: those that this program was started with.
        snapshot_fd: memory with the config as the new program has it.
        what: what it goes on with. asker: the connection on which the outcome is awaited.
        is_over: whether the proxy has been told to end.

    Raises:
        RefusedError: it can't be.
    """
    hold_signals()
    staying = [worker for worker in what.workers if worker.is_ready or worker.is_leaving]
    try:
        async with asyncio.timeout(_REST_LIMIT_S):
            for worker in staying:
                await worker.rest()
        for _ in range(3):  # a signal that came before they were held has its handler run in these turns
            await asyncio.sleep(0)
        if is_over():
            raise RefusedError("the proxy ends")
        for worker in what.workers:
            if worker not in staying:  # it is only beginning, and would have to be watched until it has
                worker.kill()
        leave(_legacy(what, staying, snapshot_fd, asker), python, arguments)
    except TimeoutError:
        raise RefusedError(f"a worker's channel doesn't come to rest within {_REST_LIMIT_S:g} s") from None
    except OSError as error:
        raise RefusedError(f"{python} can't be run: {error.strerror}") from error
    finally:
        for worker in staying:
            worker.go_on()
        release_signals()


def _legacy(what: Belongings, workers: list[WorkerProcess], snapshot_fd: int, asker: int) -> Legacy:
    terms = what.crew.terms
    inherited = tuple(worker.inherited for worker in workers)
    shared = what.shared
    known = Particulars(
        shared.board_fd, terms.ledger.fd, shared.inboxes.descriptors, inherited, what.tally.kept
    )  # fmt: skip
    return Legacy(
        version=__version__,
        format=FORMAT,
        listen=Bound(terms.listeners.address.text, terms.listeners.descriptors),
        admin=None if what.admin is None else _bound(*what.admin),
        door=Bound(what.door.path, (what.door.descriptor,)) if what.door.path else None,
        grace_s=terms.grace_s,
        snapshot=snapshot_fd,
        asker=asker,
        others=(*known.descriptors, *what.unknown),
        particulars=encode(known),
        reload_is_due=what.reload_is_due,
        command_pid=what.command_pid,
        listen_is_own=terms.listeners.are_own,
    )


def _bound(sockets: tuple[socket.socket, ...], address: str) -> Bound:
    return Bound(address, tuple(sock.fileno() for sock in sockets))


def former_crews(
    legacy: Legacy,
    known: Particulars | None,
    snapshot: Snapshot,
    shared: Shared,
    loop: asyncio.AbstractEventLoop,
) -> tuple[Crew, Crew]:
    """Return the workers of a former program: those that serve, and those that were draining already.

    Args:
        legacy, known: what it has left. snapshot: the config now. shared: as all crews have it.
        loop: the event loop.
    """
    listeners = Listeners(
        parse_address(legacy.listen.address, to_listen=True),
        int(snapshot.config.listen.socket_mode, 8),
    )
    listeners.adopt([socket.socket(fileno=fd) for fd in legacy.listen.fds], are_own=legacy.listen_is_own)
    workers = [] if known is None else [_adopted(each, shared, loop) for each in known.workers]
    leaving = [worker for worker in workers if worker.is_leaving]
    serving = [worker for worker in workers if not worker.is_leaving]
    ledger = ledger_for(snapshot) if known is None else Ledger(known.ledger)
    terms = Terms(
        legacy.snapshot, len(serving), snapshot.config.worker_hang_s, legacy.grace_s, listeners, ledger
    )  # fmt: skip
    crews = Crew(terms, shared, loop), Crew(terms, shared, loop)
    crews[0].adopt(serving)
    crews[1].adopt(leaving)
    return crews


def _adopted(inherited: Inherited, shared: Shared, loop: asyncio.AbstractEventLoop) -> WorkerProcess:
    shared.slots.reserve(inherited.number)
    return adopted(inherited, shared.board.slot(inherited.number), loop)
