"""What a worker imports by the time it has served, and the memory that it holds.

Imports are most of a worker's memory, and of the time that it takes to start. `tests.test_imports` has what
must not be among them; here is what may be, in a worker that serves over links alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.budgets.pairs import TRANSPORTS, call_all, callers, running

MIB = 1 << 20
PACKAGES = {"uvloop", "httptools", "cryptography", "msgspec", "yaml"}
"""All that a worker may import beside its own package and Python's library."""
BEHIND_PACKAGES = {"_cffi_backend", "_openssl", "cython_runtime", "typing_extensions"}
"""What these bring along."""
NOT_OVER_LINKS = (
    "fastproxy.cli",
    "fastproxy.bench",
    "fastproxy.demo",
    "fastproxy.wire.compat",
    "fastproxy.wire.sender",
    "fastproxy.wire.receiver",
    "fastproxy.net.tls",
    "fastproxy.app.center.",
    "fastproxy.app.compat",
    "fastproxy.app.envelopes",
)
"""Parts of its own package that this worker leaves out: the command line, and the other ways."""
OWN_MODULES, LIBRARY_MODULES = 135, 185
"""How many. Measured were 129 and 173."""
ANONYMOUS_BYTES, RESIDENT_BYTES = 24 * MIB, 46 * MIB
"""Of a worker that has served a few requests. Measured were 20.2 to 21.1 and 39.5 to 41.0; what is resident
but not anonymous is mostly shared libraries, whose size depends on how Python was built."""
_NOTE = """
import atexit, os, sys

def _note():
    with open(os.path.join(os.path.dirname(__file__), f"{os.getpid()}.modules"), "w") as file:
        file.write("\\n".join(sys.modules))

atexit.register(_note)
"""
"""Run by each process at its start; leaves a list of its modules at its end."""


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What each proxy of a pair with a link between them has imported when it ends, by role."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "sitecustomize.py").write_text(_NOTE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=":")
        with running(folder, "link") as pair, callers(pair, 4) as clients:
            call_all(clients, 3)
            pids = {"out": pair.out.pid, "in": pair.inner.pid}
    return {role: set((folder / f"{pid}.modules").read_text().split()) for role, pid in pids.items()}


@pytest.mark.parametrize("role", ["out", "in"])
def test_a_worker_imports_no_more_than_its_budget(modules: dict[str, set[str]], role: str) -> None:
    loaded = modules[role]
    assert f"fastproxy.proxy.{role}_proxy" in loaded
    own = {name for name in loaded if name.split(".")[0] == "fastproxy"}
    library = {name for name in loaded if name.split(".")[0] in sys.stdlib_module_names}
    assert len(own) <= OWN_MODULES, sorted(own)
    assert len(library) <= LIBRARY_MODULES, sorted(library)
    assert [name for name in own if name.startswith(NOT_OVER_LINKS)] == []
    others = {name.split(".")[0] for name in loaded - own - library if not name.startswith("_cython_")}
    of_the_environment = {"__main__", "sitecustomize", "_distutils_hack"}
    assert others - of_the_environment <= PACKAGES | BEHIND_PACKAGES


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_worker_holds_no_more_memory_than_its_budget(transport: str, tmp_path: Path) -> None:
    with running(tmp_path, transport) as pair, callers(pair, 4) as clients:
        call_all(clients, 3)
        for proxy in pair:
            assert proxy.memory_bytes("RssAnon") <= ANONYMOUS_BYTES
            assert proxy.memory_bytes("VmRSS") <= RESIDENT_BYTES
