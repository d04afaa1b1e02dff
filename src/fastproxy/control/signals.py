"""Signals that terminals and service managers send to all processes of a group.

What they ask for is the supervisor's to decide: workers get them as well, and never notice.
"""

from __future__ import annotations

import signal

GROUP_SIGNALS = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2))
