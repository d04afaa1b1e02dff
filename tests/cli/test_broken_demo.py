"""`fastproxy demo --break NAME`: what people are told, what they can find out, and that nothing is left."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fastproxy.demo.breakages import BREAKAGES
from tests.cli.test_demo import DEMO, LIMIT_S, environment, printed_until, running_in, started
from tests.e2e.client import Client
from tests.e2e.proxies import address_of


def admins(printed: str) -> dict[str, str]:
    """The admin addresses that were printed, by role."""
    found = re.findall(r"admin address of the (\w+) proxy +http://(\S+)", printed)
    return dict(found)


def failures(admin: str, cause: str) -> list[dict[str, Any]]:
    """What a proxy keeps of a cause."""
    with Client(address_of(admin)) as client:
        answer = client.request("GET", f"/api/v1/failures?cause={cause}", host="localhost")
    assert answer.status == 200
    return list(json.loads(answer.body)["failures"])


@contextmanager
def broken(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a broken demo; yields it with what it printed. Whatever happens, it ends."""
    with started(folder, "--break", *arguments) as demo:
        try:
            yield demo, printed_until(demo, "Ctrl-C")
        finally:
            demo.terminate()


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_is_broken_can_be_found_out_and_is_not_told(tmp_path: Path, name: str) -> None:
    breakage = BREAKAGES[name]
    with broken(tmp_path, name) as (demo, printed):
        assert breakage.complaint in printed
        assert breakage.truth not in printed
        assert breakage.cause not in printed
        at = admins(printed)
        found = failures(at[breakage.hop], breakage.cause)
        assert found
        assert found[0]["advice"]
        (exchange,) = set(re.findall(r"names the exchange (\S+)\.", printed))
        asked = [argument for admin in at.values() for argument in ("--at", admin)]
        why = subprocess.run(
            [sys.executable, "-m", "fastproxy", "why", exchange, *asked],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert why.returncode == 0, why.stdout + why.stderr
        if not breakage.cause.startswith(
            "handshake_"
        ):  # of which the caller is only told that there is no link
            assert breakage.cause in why.stdout
        demo.send_signal(signal.SIGINT)
        assert demo.wait(LIMIT_S) == 0
    assert list(tmp_path.iterdir()) == []
    assert running_in(tmp_path) == []


def test_it_tells_what_is_broken_when_asked(tmp_path: Path) -> None:
    with broken(tmp_path, "rate", "--reveal") as (demo, printed):
        assert BREAKAGES["rate"].truth in printed
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(LIMIT_S) == 128 + signal.SIGTERM
    assert running_in(tmp_path) == []


def test_its_help_names_all_kinds(tmp_path: Path) -> None:
    shown = subprocess.run(
        [*DEMO, "--help"], env=environment(tmp_path), capture_output=True, text=True, timeout=LIMIT_S
    )
    unwrapped = "".join(shown.stdout.split())
    for name in BREAKAGES:
        assert name in unwrapped
    refused = subprocess.run(
        [*DEMO, "--reveal"], env=environment(tmp_path), capture_output=True, text=True, timeout=LIMIT_S
    )
    assert refused.returncode == 2
    assert "--break" in refused.stderr
