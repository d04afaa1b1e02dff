"""What worker and supervisor import by the time the proxy has served, and the memory that they hold.

Imports are most of their memory, and of the time that they take to start. `tests.test_imports` has what must
not be among them; here is what may be, in a proxy that serves over links alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.budgets.pairs import TRANSPORTS, call_all, callers, running
from tests.e2e.proxies import memory_bytes

MIB = 1 << 20
PACKAGES = {"uvloop", "httptools", "cryptography", "msgspec"}
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
    "fastproxy.supervisor",
    "fastproxy.config.load",
    "fastproxy.config.resolve",
    "fastproxy.config.document",
)
"""Parts of its own package that this worker leaves out: command line, other ways, the reading of configs."""
OWN_MODULES, LIBRARY_MODULES = 142, 184
"""How many. Measured were 139 and 172."""
ANONYMOUS_BYTES, RESIDENT_BYTES = 23 * MIB, 44 * MIB
"""Of a worker that has served a few requests. Measured were 19.1 to 19.7 and 38.1 to 39.3; what is resident
but not anonymous is mostly shared libraries, whose size depends on how Python was built."""
SUPERVISORS_PACKAGES = {"httptools", "msgspec", "prometheus_client"}
NOT_FOR_SUPERVISORS = (
    "fastproxy.cli",
    "fastproxy.wire.ciphers",
    "fastproxy.wire.identity",
    "fastproxy.wire.link",
    "fastproxy.wire.receiver",
    "fastproxy.app.parts",
    "fastproxy.app.running",
    "fastproxy.proxy.in_proxy",
    "fastproxy.config.load",
    "fastproxy.config.resolve",
    "fastproxy.config.document",
)
"""What a supervisor leaves to others: carrying exchanges, and reading configs."""
SUPERVISORS_OWN_MODULES, SUPERVISORS_LIBRARY_MODULES = 98, 225
"""How many, after a scrape, whose library takes 50. Measured were 95 and 218."""
SUPERVISORS_RESIDENT_BYTES = 32 * MIB
"""Before a scrape as after it. Measured were 29.8 after one."""
WHOLE_BYTES = 75 * MIB
"""What a proxy may hold with one worker, its supervisor included. Measured were 64."""
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
    """What the workers of a pair with a link between them have imported when they end, by role; and what the
    supervisor of one has, that was scraped."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "sitecustomize.py").write_text(_NOTE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=":")
        with running(folder, "link") as pair, callers(pair, 4) as clients:
            call_all(clients, 3)
            pair.inner.metrics()
            pids = {"out": pair.out.worker, "in": pair.inner.worker, "supervisor": pair.inner.pid}
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
    assert others_among(loaded) <= PACKAGES | BEHIND_PACKAGES


def test_a_supervisor_imports_no_more_than_its_budget(modules: dict[str, set[str]]) -> None:
    loaded = modules["supervisor"]
    assert "fastproxy.supervisor.crew" in loaded
    own = {name for name in loaded if name.split(".")[0] == "fastproxy"}
    library = {name for name in loaded if name.split(".")[0] in sys.stdlib_module_names}
    assert len(own) <= SUPERVISORS_OWN_MODULES, sorted(own)
    assert len(library) <= SUPERVISORS_LIBRARY_MODULES, sorted(library)
    assert [name for name in own if name.startswith(NOT_FOR_SUPERVISORS)] == []
    assert others_among(loaded) <= SUPERVISORS_PACKAGES | BEHIND_PACKAGES


def others_among(loaded: set[str]) -> set[str]:
    """The packages that are neither Python's nor this one."""
    names = {name.split(".")[0] for name in loaded if not name.startswith("_cython_")}
    of_the_environment = {"__main__", "sitecustomize", "_distutils_hack"}
    return names - sys.stdlib_module_names - of_the_environment - {"fastproxy"}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_worker_holds_no_more_memory_than_its_budget(transport: str, tmp_path: Path) -> None:
    with running(tmp_path, transport) as pair, callers(pair, 4) as clients:
        call_all(clients, 3)
        for proxy in pair:
            assert proxy.memory_bytes("RssAnon") <= ANONYMOUS_BYTES
            assert proxy.memory_bytes("VmRSS") <= RESIDENT_BYTES


def test_a_supervisor_holds_no_more_memory_than_its_budget(tmp_path: Path) -> None:
    with running(tmp_path, "link") as pair, callers(pair, 4) as clients:
        for proxy in pair:
            assert memory_bytes(proxy.pid, "VmRSS") <= SUPERVISORS_RESIDENT_BYTES
        call_all(clients, 3)
        for proxy in pair:
            proxy.metrics()
            supervisors = memory_bytes(proxy.pid, "VmRSS")
            assert supervisors <= SUPERVISORS_RESIDENT_BYTES
            assert supervisors + proxy.memory_bytes("VmRSS") <= WHOLE_BYTES
