"""A config goes to the workers as it was loaded, secrets included, and secrets go nowhere else."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest

from fastproxy.config.load import load
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import InSnapshot, OutSnapshot, Snapshot
from fastproxy.control import handover
from fastproxy.policy.pattern import parse_pattern
from tests.net.chain import configs


def loaded(folder: Path) -> tuple[OutSnapshot, InSnapshot]:
    """The config of an out proxy, and that of an in proxy."""
    out, inner = (load(file, check_pattern=parse_pattern) for file in configs(folder))
    assert isinstance(out, OutSnapshot)
    assert isinstance(inner, InSnapshot)
    return out, inner


def handed_over(snapshot: Snapshot) -> Snapshot:
    fd = handover.put(snapshot)
    try:
        assert not os.get_inheritable(fd)
        first, second = (handover.unpack(handover.content(fd)) for _ in range(2))
    finally:
        os.close(fd)
    assert first == second, "a worker that replaces another gets the same"
    return first


def test_a_snapshot_arrives_as_it_was(tmp_path: Path) -> None:
    for snapshot in loaded(tmp_path):
        assert handed_over(snapshot) == snapshot


def test_secrets_arrive(tmp_path: Path) -> None:
    out, inner = loaded(tmp_path)
    there = handed_over(out), handed_over(inner)
    assert isinstance(there[0], OutSnapshot)
    assert isinstance(there[1], InSnapshot)
    assert there[0].caller_keys["caller"].reveal() == out.caller_keys["caller"].reveal()
    assert there[1].private_keys[0].reveal() == inner.private_keys[0].reveal()


def test_what_can_not_change_still_can_not(tmp_path: Path) -> None:
    out, _ = loaded(tmp_path)
    there = handed_over(out)
    assert isinstance(there, OutSnapshot)
    changeable = [name for name in ("services", "caller_keys")
                  if isinstance(getattr(out, name), MappingProxyType)
                  and not isinstance(getattr(there, name), MappingProxyType)]  # fmt: skip
    assert changeable == []


def test_a_secret_is_pickled_nowhere_else(tmp_path: Path) -> None:
    out, _ = loaded(tmp_path)
    handed_over(out)
    for value in (Secret(b"s"), out):
        with pytest.raises(TypeError, match="secret"):
            pickle.dumps(value)


def test_the_content_reaches_a_process_that_inherits_it_and_no_file(tmp_path: Path) -> None:
    out, _ = loaded(tmp_path)
    fd = handover.put(out)
    try:
        script = (
            "import sys; from fastproxy.control import handover\n"
            "print(handover.unpack(handover.content(int(sys.argv[1]))).caller)"
        )
        command = [sys.executable, "-c", script, str(fd)]
        found = subprocess.run(command, pass_fds=[fd], capture_output=True, text=True, check=True)
        assert found.stdout == "caller\n"
        assert "memfd" in os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
