"""Counts what requests cost, in the process that this module is run in, and prints it as JSON.

How much is in use is looked at before every bytecode, which takes the longer the more that is: in a process
that has loaded no other tests it takes a tenth of the time, and nothing of theirs is counted.

    python -m tests.budgets.count_requests '[["link", "out", 1]]'
"""

from __future__ import annotations

import json
import sys
from dataclasses import astuple

from tests.micro.counting import Count, count
from tests.micro.played_pair import PlayedPair
from tests.micro.requests import hop


def counted(transport: str, role: str, calls: int, access: str = "off") -> Count:
    """Count what a request costs one proxy, "out" or "in". calls: at a time. access: "on" or "off"."""
    pair = PlayedPair(transport, calls, is_logged=access == "on")
    try:
        # Of two counts the lesser: what is done every few seconds may come into one of them.
        return min(
            count(hop(pair, role)), count(hop(pair, role)), key=lambda found: (found.bytecodes, found.blocks)
        )
    finally:
        pair.close()


if __name__ == "__main__":
    print(json.dumps([astuple(counted(*each)) for each in json.loads(sys.argv[1])]))
