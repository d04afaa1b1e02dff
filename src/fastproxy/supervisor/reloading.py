"""What a reload does, in the words of those who ask for one: at the door, and over the admin address.

Knows nothing of how it is done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec

from fastproxy.admin.answers import AdminError
from fastproxy.config.changes import Change
from fastproxy.config.snapshot import InSnapshot, Snapshot
from fastproxy.supervisor.door import Asked, RefusedError

LARGE = 5000
"""Callers and privileges that a running worker can take over in some ten milliseconds."""


class ReloadError(Exception):
    """A new config can't be used. problems: what is wrong with it, in words."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(*problems)
        self.problems = problems


class Reloaded(NamedTuple):
    """What a reload did, or would do.

    how: "nothing", "in place", or by "new workers". changes: what differs.
    """

    how: str
    changes: list[Change]


Reload = Callable[[], Awaitable[Reloaded]]
"""Reloads, or says what that would do.

Raises:
    ReloadError: the config can't be used.
"""


def way_to(snapshot: Snapshot, found: list[Change]) -> str:
    """Return how a config is gone over to; see `Reloaded`."""
    if not found:
        return "nothing"
    # To compile that many in place would hold up all exchanges; new workers do it beside them.
    size = len(snapshot.caller_names) + (len(snapshot.grants) if isinstance(snapshot, InSnapshot) else 0)
    return "new workers" if size > LARGE or any(change.takes_processes for change in found) else "in place"


async def at_the_door(reload: Reload, asked: Asked) -> dict[str, Any]:
    """Answer a command.

    Raises:
        RefusedError: the config can't be used.
    """
    try:
        return _told(await reload())
    except ReloadError as error:
        words = "the new config is refused, the proxy serves on with the former one:"
        raise RefusedError("\n".join((words, *error.problems))) from error


async def over_http(reload: Reload) -> Reloaded:
    """Reload, or preview, for a request.

    Raises:
        AdminError: the config can't be used.
    """
    try:
        return await reload()
    except ReloadError as error:
        raise AdminError(409, "\n".join(error.problems)) from error


def _told(reloaded: Reloaded) -> dict[str, Any]:
    return {"how": reloaded.how, "changes": msgspec.to_builtins(reloaded.changes)}
