"""`python -m fastproxy.supervisor.reader FILE DESCRIPTOR`: read a config for a supervisor, and end.

What comes of it, a snapshot or all problems, is left in memory that the supervisor has made (`handover`).
"""

from __future__ import annotations

import sys

from fastproxy.config.load import load
from fastproxy.config.problem import ConfigError
from fastproxy.control import handover
from fastproxy.policy.pattern import parse_pattern


def main(file: str, fd: int) -> None:
    """Read a file; write what comes of it."""
    try:
        snapshot = load(file, check_pattern=parse_pattern)
    except ConfigError as error:
        handover.write(fd, error.problems)
    else:
        handover.write(fd, snapshot)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
