"""`fastproxy demo --break NAME`: what people are told, what they can find out by a browser alone or by `why`,
and that nothing is left.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from fastproxy.demo.breakages import BREAKAGES
from tests.browser import Looking, browser, looking
from tests.cli.conftest import Call
from tests.cli.test_demo import LIMIT_S, printed_until, running_in, started


def admins(printed: str) -> dict[str, str]:
    """The admin addresses that were printed, by role."""
    found = re.findall(r"admin address of the (\w+) proxy +http://(\S+)", printed)
    return dict(found)


@contextmanager
def broken(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a broken demo; yields it with what it printed. Whatever happens, it ends."""
    with started(folder, "--break", *arguments) as demo:
        try:
            yield demo, printed_until(demo, "Ctrl-C")
        finally:
            demo.terminate()


SHOWN = {
    "wrong-key": (
        "refused it during the handshake of a link", "key id", "add the caller's public key to callers",
    ),
    "expired-key": (
        "refused it during the handshake of a link", "of chat_service has passed its date",
        "give the caller there another key",
    ),
    "slow-service": (
        "gave it up while it waited for the answer of the service", "phase wait", "timeout1 s",
        "raise timeout_s",
    ),
    "bad-answer": (
        "gave it up while it waited for the answer of the service", "what is no HTTP",
        "Look at what listens at the endpoint",
    ),
    "dns": (
        "gave it up while it picked an endpoint", "search-service.invalid:8080 doesn't resolve",
        "Check endpoints",
    ),
    "clock": (
        "gave it up as the time was up", "the deadline had passed when the request arrived",
        "budget left−60 min", "compare the clocks",
    ),
    "tampered": (
        "gave it up while it waited for the answer of the in proxy",
        "changed, dropped or repeated on the way", "what changes bytes on the way",
    ),
}  # fmt: skip
"""What the dashboard of the proxy that knows says of it: when on the way, by what, and what to do. What it
says of the causes of the other kinds is seen in `tests/e2e/test_dashboard.py`.
"""

REVEALED = "rate"
"""The kind of which the truth is asked for, and that SIGTERM ends."""

IN_FIRST_LINES = {
    "wrong-key": "no caller here has the key that it came with",
    "expired-key": "The key of chat_service has ended",
}
"""Of what no call shows."""


@pytest.fixture(scope="module")
def looks() -> Iterator[Looking]:
    """One page for all; it ends with the module, whose thread has its event loop until then."""
    with browser() as started, looking(started, "about:blank") as looks:
        yield looks


def story_at(looks: Looking, admin: str, words: str) -> Locator:
    """What the dashboard of a proxy tells of the failures with these words."""
    looks.go_to(f"http://{admin}")
    group = looks.page.locator("#failures details").filter(has_text=words)
    group.locator("summary").click()
    return group.locator(".story")


def see_on_pages(looks: Looking, at: dict[str, str], name: str) -> None:
    """See that the page of the proxy that knows tells the cause, and that the other's leads there."""
    breakage = BREAKAGES[name]
    if name == "wrong-key":  # of which nothing that the out proxy is told says why
        expect(story_at(looks, at["out"], "link_refused")).to_contain_text("The in proxy's last failures")
    story = story_at(looks, at[breakage.hop], breakage.cause)
    hop = {"in": "services-in (in proxy)", "out": "out (out proxy)"}[breakage.hop]
    for words in (hop, "What to do: ", *SHOWN[name]):
        expect(story).to_contain_text(words)
    if name in IN_FIRST_LINES:
        expect(looks.page.locator("#findings")).to_contain_text(IN_FIRST_LINES[name])


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_is_broken_can_be_found_out_and_is_told_when_asked(
    tmp_path: Path, call: Call, looks: Looking, name: str
) -> None:
    breakage = BREAKAGES[name]
    is_revealed = name == REVEALED
    with broken(tmp_path, name, *(["--reveal"] if is_revealed else [])) as (demo, printed):
        assert breakage.complaint in printed
        assert (breakage.truth in printed, breakage.cause in printed) == (is_revealed, is_revealed)
        at = admins(printed)
        if name in SHOWN:
            see_on_pages(looks, at, name)
        (exchange,) = set(re.findall(r"names the exchange (\S+)\.", printed))
        asked = [argument for admin in at.values() for argument in ("--at", admin)]
        why = call("why", exchange, *asked)
        assert why.exit_code == 0, why.output
        # Of a handshake the caller is only told that there is no link.
        assert breakage.cause.startswith("handshake_") or breakage.cause in why.output
        demo.send_signal(signal.SIGTERM if is_revealed else signal.SIGINT)
        assert demo.wait(LIMIT_S) == (128 + signal.SIGTERM if is_revealed else 0)
    assert list(tmp_path.iterdir()) == []
    assert running_in(tmp_path) == []


def test_its_help_names_all_kinds(call: Call) -> None:
    unwrapped = "".join(call("demo", "--help").output.split())
    for name in BREAKAGES:
        assert name in unwrapped
    refused = call("demo", "--reveal")
    assert refused.exit_code == 2
    assert "--break" in refused.output
