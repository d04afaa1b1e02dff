"""What the workers of a config are started with, opened for them: sockets, the config in memory, the ledger.

What the config before it had open goes on where it fits. When something can't be had, what was opened for
this one is closed again, and all is as it was.
Knows nothing of processes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from socket import socket

from fastproxy.config.snapshot import Snapshot
from fastproxy.control import handover
from fastproxy.control.ledger import Ledger, ledger_for
from fastproxy.net.listener import StartError
from fastproxy.supervisor.activation import check
from fastproxy.supervisor.console import ADMIN_MODE
from fastproxy.supervisor.cores import usable_cores
from fastproxy.supervisor.crew import Terms
from fastproxy.supervisor.inboxes import Inboxes
from fastproxy.supervisor.listeners import Listeners


def terms_for(snapshot: Snapshot, inboxes: Inboxes, former: Listeners | None, ledger: Ledger | None) -> Terms:
    """Return what the workers of a config are started with; the address is listened at from now on.

    Args:
        snapshot: the config. inboxes: of all workers; there will be enough.
        former: what is listened with now. ledger: the one that there is.

    Raises:
        StartError: the address can't be bound. OSError: no descriptor is left.
    """
    config = snapshot.config
    size = config.workers or usable_cores()
    with ExitStack() as opened:
        listeners, mode = former, _mode(snapshot)
        if listeners is None or (listeners.address, listeners.mode) != (snapshot.listen, mode):
            listeners = Listeners(snapshot.listen, mode)
            opened.callback(listeners.close)
        listeners.open(size)
        inboxes.open(size)
        snapshot_fd = handover.put(snapshot)
        opened.callback(os.close, snapshot_fd)
        ledger = ledger_for(snapshot, ledger)
        opened.pop_all()
    return Terms(snapshot_fd, size, config.worker_hang_s, config.drain.grace_s, listeners, ledger)


def close_new(terms: Terms, former: Terms) -> None:
    """Close what was opened for terms that come to nothing; what the former ones have stays."""
    os.close(terms.snapshot_fd)
    if terms.listeners is not former.listeners:
        terms.listeners.close()
    if terms.ledger is not former.ledger:
        terms.ledger.close()


def inherited_listeners(
    snapshot: Snapshot, listen: Sequence[socket], admin: Sequence[socket]
) -> Listeners | None:
    """Return what the service manager has handed over to listen with, if anything.

    Args:
        snapshot: the config. listen, admin: sockets for the two addresses.

    Raises:
        StartError: it isn't what the config says.
    """
    mode = _mode(snapshot)
    check(listen, snapshot.listen, mode, "listen.address")
    if snapshot.admin is not None:
        check(admin, snapshot.admin.address, ADMIN_MODE, "admin.address")
    elif admin:
        raise StartError(
            "a socket was handed over for the admin address, the config has none; "
            "add `admin: {address: …}`, or take it out of the socket unit"
        )
    if not listen:
        return None
    listeners = Listeners(snapshot.listen, mode)
    listeners.adopt(listen)
    return listeners


def _mode(snapshot: Snapshot) -> int:
    return int(snapshot.config.listen.socket_mode, 8)
