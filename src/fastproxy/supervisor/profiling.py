"""Profiles of a proxy: asked of all its workers at the same time, and made into one file.

Loaded only when somebody asks. What workers answer goes on unread to a program that makes the file; a
recording of memory lies in a folder that is made here, and removed whatever becomes of the workers. One that
ends meanwhile is missing, and the profile says so. When the wait is given up, everything ends at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw

from fastproxy.admin.answers import AdminError
from fastproxy.admin.profiles import Kind, Profiles
from fastproxy.control.channel import ChannelError, GoneError
from fastproxy.control.messages import PROFILE, Take, encode
from fastproxy.supervisor.errands import ErrandError, Errands
from fastproxy.supervisor.process import WorkerProcess
from fastproxy.telemetry.profiling.memory import RECORD_LIMIT_BYTES, RecordingError, folder_for_recordings
from fastproxy.telemetry.profiling.render import COMMAND, Order

_PATIENCE_S = 20.0
"""How long after its time a worker may take to answer: it looks up names, of 20,000 stacks at most."""
_RENDER_LIMIT_S = 120.0


def profiles_of(
    workers: Callable[[], Iterable[WorkerProcess]], errands: Errands, loop: asyncio.AbstractEventLoop
) -> Profiles:
    """Return what answers with profiles of these workers.

    Args:
        workers: those that there are now. errands: make the files. loop: the event loop.
    """
    return Profiles(ProxyProfiles(workers, errands).take, loop)


class _Seen(NamedTuple):
    """What workers have answered, by their names; and why some haven't."""

    answers: dict[str, bytes]
    missing: list[str]


class ProxyProfiles:
    """Takes profiles of several workers.

    Args:
        workers: those that there are now; ready ones that aren't about to end are asked.
        errands: make the files.
    """

    def __init__(self, workers: Callable[[], Iterable[WorkerProcess]], errands: Errands) -> None:
        self._workers = workers
        self._errands = errands

    async def take(self, kind: Kind, seconds: float, form: str) -> bytes:
        """Return the file of a profile.

        Raises:
            AdminError: it can't be had; the words say why and what to do.
        """
        workers = [worker for worker in self._workers() if worker.is_ready and not worker.is_leaving]
        if not workers:
            raise AdminError(503, "no worker is ready; ask again once /readyz answers with 200")
        try:
            if kind.claims == "memory":
                return await self._record(workers, kind, seconds, form)
            wanted = Take(kind.claims, seconds)
            seen = await self._ask([(worker, wanted) for worker in workers])
            profiles = {name: Raw(answer) for name, answer in seen.answers.items()}
            return await self._render(Order(form, profiles=profiles, comments=seen.missing))
        except RecordingError as error:
            raise AdminError(501, str(error)) from error
        except ErrandError as error:
            raise AdminError(500, f"the profile could not be made into a file: {error}") from error

    async def _record(self, workers: Sequence[WorkerProcess], kind: Kind, seconds: float, form: str) -> bytes:
        with folder_for_recordings() as folder:
            files = {_name(worker): str(folder / str(worker.number)) for worker in workers}
            limit_bytes = RECORD_LIMIT_BYTES // len(workers)
            seen = await self._ask(
                [
                    (worker, Take(kind.claims, seconds, files[_name(worker)], limit_bytes))
                    for worker in workers
                ]
            )
            recordings = {name: files[name] for name in seen.answers}
            return await self._render(
                Order(form, recordings=recordings, kind=kind.name, comments=seen.missing)
            )

    async def _render(self, order: Order) -> bytes:
        return await self._errands.run(COMMAND, msgspec.msgpack.encode(order), _RENDER_LIMIT_S)

    async def _ask(self, wanted: Sequence[tuple[WorkerProcess, Take]]) -> _Seen:
        """Ask all at the same time.

        Raises:
            AdminError: none has an answer.
        """
        asking = (_answer_of(worker, take) for worker, take in wanted)
        seen = _Seen({}, [])
        refusals = []
        for (worker, _), answer in zip(wanted, await asyncio.gather(*asking), strict=True):
            if isinstance(answer, bytes):
                seen.answers[_name(worker)] = answer
                continue
            seen.missing.append(f"{_name(worker)} is missing: {answer}")
            if not isinstance(answer, GoneError):
                refusals.append(str(answer))
        if seen.answers:
            return seen
        if refusals:
            raise AdminError(501, refusals[0])
        raise AdminError(503, "every worker has ended meanwhile, as the log says; ask again, of others")


async def _answer_of(worker: WorkerProcess, take: Take) -> bytes | ChannelError:
    """Ask a worker; return why it has no answer, instead of raising it: the others go on."""
    try:
        async with asyncio.timeout(take.seconds + _PATIENCE_S):
            return await worker.ask(PROFILE, encode(take))
    except ChannelError as error:
        return error
    except TimeoutError:
        return GoneError("it does not answer")


def _name(worker: WorkerProcess) -> str:
    return f"worker {worker.number}"
