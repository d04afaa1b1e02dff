"""`python -m fastproxy.telemetry.profiling.render`: makes one file of what several processes have seen.

A process of its own: recordings are read, and formats made, without holding up whoever asks for them, and
without leaving it their libraries. It gets an `Order` on standard input, and writes pprof's format or a page
to standard output.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
from msgspec import Raw, Struct

from fastproxy.telemetry.profiling.merge import merge
from fastproxy.telemetry.profiling.profile import Profile

FORMATS = ("pprof", "flamegraph")
COMMAND = (sys.executable, "-P", "-m", "fastproxy.telemetry.profiling.render")
"""With -P: what lies in the folder that the proxy was started in, by whosever hand, isn't run."""


class Order(Struct):
    """What to make a file of.

    form: one of `FORMATS`. profiles: by worker, encoded. recordings: of memory, their files by worker; kind:
    heap or allocs, which says what is shown of them first. comments: what a reader should know beside.
    """

    form: str
    profiles: dict[str, Raw] = {}
    recordings: dict[str, str] = {}
    kind: str = ""
    comments: list[str] = []


def main() -> None:
    """Make the file."""
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Order)
    profiles = {name: msgspec.msgpack.decode(raw, type=Profile) for name, raw in order.profiles.items()}
    if order.recordings:
        from fastproxy.telemetry.profiling.memory import read_recording  # noqa: PLC0415 - for this alone

        profiles |= {name: read_recording(Path(file), order.kind) for name, file in order.recordings.items()}
    profile = merge(profiles)
    profile.comments += order.comments
    if order.form == "flamegraph":
        from fastproxy.telemetry.profiling.flamegraph import page  # noqa: PLC0415 - as above

        sys.stdout.buffer.write(page(profile).encode())
    else:
        from fastproxy.telemetry.profiling.pprof import write  # noqa: PLC0415 - as above

        sys.stdout.buffer.write(write(profile))


if __name__ == "__main__":
    main()
