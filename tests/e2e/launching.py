"""`fastproxy run` with all that surrounds it: options, an environment, sockets that were handed over."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastproxy.supervisor.ready_file import Standing, read
from tests.e2e.client import Address, Answer, fetch
from tests.e2e.proxies import Line, LineFeed, address_of, in_config, key_of, merged, write_key

TIME_LIMIT_S = 30.0

# Puts descriptors where a service manager puts them, and is the program then, with the same process id.
_HAND_OVER = """
import os, sys
fds, program = sys.argv[1].split(","), sys.argv[2:]
for number, fd in enumerate(map(int, fds), 3):
    os.dup2(fd, number + 100)
for number in range(3, 3 + len(fds)):
    os.dup2(number + 100, number)
os.closerange(103, 103 + len(fds))
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
os.execv(program[0], program)
"""


def standing_in(ready_file: Path, process: subprocess.Popen[bytes], state: str = "ready") -> Standing:
    """Wait until a ready file says this of a proxy that runs; return all that it says."""
    end_s = time.monotonic() + TIME_LIMIT_S
    while not ready_file.exists() or (standing := read(ready_file)).state != state:
        assert process.poll() is None
        assert time.monotonic() < end_s
        time.sleep(0.01)  # leaves the processor to whom is waited for
    return standing


def config_file(folder: Path, **changes: object) -> Path:
    """Write the config of an in proxy with one worker, whose service need not be there, and its key."""
    write_key(folder, "in")
    config = merged(in_config({"api": ["127.0.0.1:9"]}, {"web": key_of("web")}), {"workers": 1})
    file = folder / "in.yaml"
    file.write_text(json.dumps(merged(config, dict(changes))))
    return file


def run_command(*arguments: str | Path) -> list[str]:
    """The command line of `fastproxy run`."""
    return [sys.executable, "-m", "fastproxy", "run", *map(str, arguments)]


class Launched:
    """A proxy that was started with these arguments.

    log, output: what it writes to standard error and output.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        assert process.stdout is not None
        assert process.stderr is not None
        self.output = LineFeed(process.stdout)
        self.log = LineFeed(process.stderr)

    def ready(self) -> Line:
        """Wait until it takes connections; return what it says of itself."""
        return self.log.wait_for(message="ready")

    def probe(self, path: str = "/readyz") -> Answer:
        """Ask its admin address."""
        return fetch(self.admin, "GET", path)

    @property
    def admin(self) -> Address:
        """Its admin address."""
        return address_of(self.ready()["admin"])

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        return self.process.wait(TIME_LIMIT_S)


@contextmanager
def launched(
    *arguments: str | Path,
    environ: Mapping[str, str] | None = None,
    sockets: Sequence[socket.socket] = (),
    prefix: Sequence[str] = (),
) -> Iterator[Launched]:
    """Start `fastproxy run ARGUMENTS`; in the end it is gone.

    Args:
        environ: more variables. sockets: to hand over. prefix: what stands before the command line.
    """
    command = [*prefix, *run_command(*arguments)]
    fds = [sock.fileno() for sock in sockets]
    if fds:
        command = [sys.executable, "-c", _HAND_OVER, ",".join(map(str, fds)), *command]
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environ or {})},
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    running = Launched(process)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                running.wait()
            finally:
                process.kill()
                process.wait()
        running.output.close()
        running.log.close()


def ended(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `fastproxy run ARGUMENTS` to its end."""
    return subprocess.run(
        run_command(*arguments),
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        stdin=subprocess.DEVNULL,
    )
