"""A real browser (Debian's Chromium, headless) that looks at a page as a person does, and keeps watch on it.

What a page must never do ends the test that looks at it: an error or a warning in its console, a script that
fails, a request to anywhere but the address that it came from.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

Theme = Literal["light", "dark"]
LAPTOP = (1280, 800)
PHONE = (390, 844)
_LIMIT_MS = 20_000

expect.set_options(timeout=_LIMIT_MS)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start the browser."""
    program = shutil.which("chromium")
    assert program, "there is no Chromium here; scripts/setup-debian.sh installs it"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program)
        try:
            yield started
        finally:
            started.close()


class Looking:
    """Looks at a page; see the module.

    page: as the library has it. problems: what was wrong so far. asked: every URL that it asked for.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.problems: list[str] = []
        self.asked: list[str] = []
        self._from = [f"{url}/", "data:"]
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.problems.append(f"a script failed: {error}"))
        page.on("request", self._asks)

    def go_to(self, url: str) -> None:
        """Look at another page from here on."""
        self._from.append(f"{url}/")
        self.page.goto(url)

    def _said(self, message: ConsoleMessage) -> None:
        # That a request was refused or met nobody is for the page to tell; the browser says it as well.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.problems.append(f"the console: {message.text}")

    def _asks(self, request: Request) -> None:
        self.asked.append(request.url)
        if not request.url.startswith(tuple(self._from)):
            self.problems.append(f"it asks {request.url}")

    def count(self, end: str) -> int:
        """How often it has asked for a URL with this end."""
        return sum(url.endswith(end) for url in self.asked)

    def fits(self, width: int) -> None:
        """Wait until the page is as wide as its window: charts are drawn anew after that has changed."""
        self.page.wait_for_function("width => document.documentElement.scrollWidth === width", arg=width)


@contextmanager
def looking(
    browser: Browser, url: str, *, size: tuple[int, int] = LAPTOP, theme: Theme = "light", **options: Any
) -> Iterator[Looking]:
    """Open a page as a person who was never here.

    Args:
        size: of the window. theme: of the system. options: as the library has them.
    """
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce", **options
    )
    try:
        page = context.new_page()
        page.set_default_timeout(_LIMIT_MS)
        looks = Looking(page, url)
        page.goto(url)
        yield looks
        assert not looks.problems, looks.problems
    finally:
        context.close()
