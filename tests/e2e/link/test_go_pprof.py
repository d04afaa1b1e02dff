"""`go tool pprof` reads the profiles of a running proxy by itself, as the performance record does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.conftest import Maker
from tests.e2e.link.profiled import Calls
from tests.e2e.nginx import Nginx

pytestmark = pytest.mark.long

TOKEN = "0123456789abcdef-token"


def pprof(url: str, folder: Path) -> str:
    """Return the functions that it lists, and what it says of the profile."""
    if shutil.which("go") is None:
        pytest.fail("go is missing; install the Debian package golang-go")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "PPROF_TMPDIR": str(folder)}
    command = ["go", "tool", "pprof", "-top", "-nodecount=200", "-tagroot=worker", url]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("debug/pprof/profile?seconds=5", "Type: cpu"),
        ("debug/fgprof?seconds=5", "Type: time"),
        ("debug/pprof/heap", "Type: inuse_space"),
        ("debug/pprof/allocs", "Type: alloc_space"),
    ],
)
def test_go_reads_profiles_over_http(make: Maker, nginx: Nginx, tmp_path: Path, path: str, kind: str) -> None:
    file = tmp_path / "admin.token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    out = {"workers": 2, "admin": {"token": {"file": str(file)}}}
    pair = make.pair({"web": [nginx.endpoint]}, out=out)
    url = f"http://x:{TOKEN}@127.0.0.1:{pair.out.admin[1]}/{path}"
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(Calls(pair.address, "/web/hello"))
        text = pprof(url, tmp_path)
    assert kind in text
    assert "fastproxy.net.link.link.Link.data_received" in text
    assert re.search(r" worker [01]$", text, re.MULTILINE)


def test_go_shows_the_words_of_a_refusal(make: Maker, nginx: Nginx, tmp_path: Path) -> None:
    proxy = make.in_proxy({"web": [nginx.endpoint]}, {})
    command = [
        "go",
        "tool",
        "pprof",
        "-top",
        f"http://127.0.0.1:{proxy.admin[1]}/debug/pprof/profile?seconds=1",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "admin.open: [profiles]" in done.stderr
