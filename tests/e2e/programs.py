"""Other versions of this program, for upgrades: copies of its package, changed where a test wants it.

An interpreter of an environment of its own is a script here, which leads the same interpreter to the copy.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import fastproxy
from tests.e2e.proxies import ProxyProcess

UPGRADE_S = 120
"""However long a busy machine takes to start five processes."""


def version(folder: Path, number: str, changes: Mapping[str, tuple[str, str]] = {}) -> str:
    """Make another version; return its interpreter.

    Args:
        folder: for it, where nothing is yet. number: of the version.
        changes: by module file, what is to stand in place of what.
    """
    package = folder / "fastproxy"
    # With modification times, so that what is compiled already need not be compiled again.
    shutil.copytree(
        Path(fastproxy.__file__).parent, package, ignore=shutil.ignore_patterns("bench", "demo", "*.pyc.*")
    )
    own = ("__init__.py", (f'"{fastproxy.__version__}"', f'"{number}"'))
    for name, (old, new) in (own, *changes.items()):
        file = package / name
        text = file.read_text()
        assert text.count(old) == 1, (name, old)
        file.write_text(text.replace(old, new))
    return script(folder, f'PYTHONPATH={folder} exec {sys.executable} "$@"')


def script(folder: Path, *lines: str, interpreter: str = "/bin/sh") -> str:
    """Write what passes for an interpreter, in a language of which there is one; return its path."""
    folder.mkdir(exist_ok=True)
    file = folder / "python"
    file.write_text("\n".join((f"#!{interpreter}", *lines, "")))
    file.chmod(0o755)
    return str(file)


def begin_upgrade(target: object, python: str = sys.executable) -> subprocess.Popen[str]:
    """Have a proxy upgraded, without waiting for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "fastproxy", "upgrade", str(target), "--python", python],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(upgrading: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for an upgrade's end; return its exit code and what it said."""
    said = upgrading.communicate(timeout=UPGRADE_S)
    return upgrading.returncode, "".join(said)


def upgrade(target: object, python: str = sys.executable) -> tuple[int, str]:
    """Have a proxy upgraded; return exit code and what was said."""
    return outcome(begin_upgrade(target, python))


def workers(proxy: ProxyProcess) -> set[int]:
    """The processes that a proxy has started and that are there."""
    return {int(pid) for pid in Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split()}


def wait_for_workers(proxy: ProxyProcess, count: int) -> None:
    """Wait until a proxy has so many processes: the former ones are gone."""
    wait_until(lambda: len(workers(proxy)) == count)


def wait_until(holds: Callable[[], bool]) -> None:
    """Look again and again until something holds that nothing tells of."""
    end_s = time.monotonic() + UPGRADE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)  # for the processes that it is about
