"""The programs of others that a run needs: where they are, which version, and how they are installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where servers are installed, and where the search path of a user who isn't root often doesn't lead."""

_VERSION = re.compile(r"\d+\.\d+\.\d+")


class ToolMissingError(Exception):
    """Something that a measurement needs isn't installed; the message says how to install it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program of others, or a library.

    install: the command that installs it. version_flag: what makes it print its version.
    module: of a library, what is imported; "" for a program.
    """

    name: str
    install: str
    version_flag: str
    module: str = ""

    def find(self) -> Path:
        """Return where it is.

        Raises:
            ToolMissingError: it is not there.
        """
        if self.module and (spec := importlib.util.find_spec(self.module)) and spec.origin:
            return Path(spec.origin)
        found = _packaged_envoy() if self.name == "envoy" else None
        found = found or shutil.which(self.name) or shutil.which(self.name, path=SYSTEM_PATH)
        if found is None:
            raise ToolMissingError(f"{self.name} is not installed; install it with: {self.install}")
        return Path(found)

    def version(self) -> str:
        """Return the version as a program states it itself, "unknown" when it doesn't.

        Raises:
            ToolMissingError: it is not there.
        """
        where = self.find()
        if self.module:
            return importlib.metadata.version(self.name)
        shown = subprocess.run([where, self.version_flag], capture_output=True, text=True, timeout=20)
        first_line = (shown.stdout + shown.stderr).strip().partition("\n")[0]
        # The last one: Envoy puts its own path in front, which may hold the version of something else.
        versions: list[str] = _VERSION.findall(first_line)
        return versions[-1] if versions else "unknown"


def _packaged_envoy() -> str | None:
    """Return the binary inside the Python package `envoy`; its start script would stand in between."""
    package = importlib.util.find_spec("envoy")
    for folder in (package.submodule_search_locations or []) if package else []:
        binary = Path(folder) / "_bin" / "envoy"
        if binary.is_file():
            return str(binary)
    return None


WRK = Tool("wrk", "apt-get install wrk", "-v")
NGINX = Tool("nginx", "apt-get install nginx-light", "-v")
HAPROXY = Tool("haproxy", "apt-get install haproxy", "-v")
ENVOY = Tool("envoy", "pip install 'fastproxy-link[bench]'", "--version")
PERF = Tool("perf", "apt-get install linux-perf", "--version")
CURL = Tool("curl", "apt-get install curl", "--version")
HDRHISTOGRAM = Tool("hdrhistogram", "pip install 'fastproxy-link[bench]'", "", module="hdrh")
