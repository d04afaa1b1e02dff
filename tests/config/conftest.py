"""Config files and keys in a folder of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fastproxy.config.load import load
from fastproxy.config.problem import ConfigError, Problem
from fastproxy.config.snapshot import Snapshot
from fastproxy.policy.pattern import parse_pattern
from tests.certificates import NOW


class Folder:
    """A folder with config files and keys."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def key(self, name: str) -> str:
        """Write NAME.key if there is none yet and return the public key in hex."""
        file = self.path / f"{name}.key"
        if not file.exists():
            file.write_text(X25519PrivateKey.generate().private_bytes_raw().hex() + "\n")
            file.chmod(0o600)
        private_key = X25519PrivateKey.from_private_bytes(bytes.fromhex(file.read_text().strip()))
        return private_key.public_key().public_bytes_raw().hex()

    def secret(self, name: str, content: str) -> None:
        """Write a secret that is text to NAME.secret, which only its owner may read."""
        file = self.path / f"{name}.secret"
        file.write_text(content + "\n")
        file.chmod(0o600)

    def load(self, text: str, environ: dict[str, str] | None = None) -> Snapshot:
        """Load a config text."""
        file = self.path / "config.yaml"
        file.write_text(text)
        return load(file, check_pattern=parse_pattern, environ=environ or {}, clock=NOW.timestamp)

    def problems(self, text: str, environ: dict[str, str] | None = None) -> tuple[Problem, ...]:
        """Load a config text that must be refused and return what is wrong."""
        with pytest.raises(ConfigError) as caught:
            self.load(text, environ)
        return caught.value.problems


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
