"""`python -m fastproxy.telemetry.profiling.render FORMAT [KIND FILE]`: makes a file of what was seen.

A process of its own: names of a recording are looked up, and formats made, without holding up the proxy. It
gets a profile on standard input, or a recording of memory by the name of its file, and writes pprof's format
or a page to standard output.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import msgspec

from fastproxy.telemetry.profiling.profile import Profile

FORMATS = ("pprof", "flamegraph")
_TIMEOUT_S = 120.0
_COMMAND = (sys.executable, "-P", "-m", "fastproxy.telemetry.profiling.render")
"""With -P: what lies in the folder that the proxy was started in, by whosever hand, isn't run."""


class RenderError(Exception):
    """The file could not be made."""


async def render(profile: Profile, form: str) -> bytes:
    """Make a file of a profile in another process, which ends when the wait for it is cancelled.

    Args:
        form: one of `FORMATS`.

    Raises:
        RenderError: that process failed.
    """
    return await _run([form], msgspec.msgpack.encode(profile))


async def render_recording(file: Path, kind: str, form: str) -> bytes:
    """Make a file of a recording of memory, as `render` does. kind: heap or allocs."""
    return await _run([form, kind, str(file)], b"")


async def _run(arguments: list[str], given: bytes) -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            *_COMMAND, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
    except OSError as error:
        raise RenderError(f"no process can be started: {error.strerror}") from error
    try:
        content, complaints = await asyncio.wait_for(process.communicate(given), _TIMEOUT_S)
    except TimeoutError as error:
        raise RenderError(f"not within {_TIMEOUT_S:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RenderError(complaints.decode(errors="replace").strip().rpartition("\n")[2])
    return content


def main(form: str, kind: str = "", file: str = "") -> None:
    """Do in this process what the functions above ask another for."""
    if file:
        from fastproxy.telemetry.profiling.memory import read_recording  # noqa: PLC0415 - for this alone

        profile = read_recording(Path(file), kind)
    else:
        profile = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Profile)
    if form == "flamegraph":
        from fastproxy.telemetry.profiling.flamegraph import page  # noqa: PLC0415 - as above

        sys.stdout.buffer.write(page(profile).encode())
    else:
        from fastproxy.telemetry.profiling.pprof import write  # noqa: PLC0415 - as above

        sys.stdout.buffer.write(write(profile))


if __name__ == "__main__":
    main(*sys.argv[1:])
