"""Takes the docs' pictures of broken demos: `python -m tests.admin.dashboard.walk_through [FOLDER]`.

Of the broken demo as it runs, so that ports, ids and times are others each time; what is looked at isn't.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from fastproxy.demo.breakages import BREAKAGES
from fastproxy.demo.broken import BrokenDemo, set_up_broken
from tests.admin.dashboard.pictures import folder_to_fill, save
from tests.browser import LAPTOP, browser, looking

_WATCHED_MS = 8000
"""How long the page was open, so that what it says of the last seconds is worth reading."""


def main() -> None:
    """Take all of them."""
    folder = folder_to_fill()
    with browser() as started:
        with set_up_broken(BREAKAGES["wrong-key"]) as demo:
            with _page(started, demo.out_proxy.admin) as page:
                _take(page, folder / "walk-wrong-key-out.png", "link_refused")
                save(page.locator("#identities").screenshot(), folder / "walk-wrong-key-identities.png")
            with _page(started, demo.in_proxy.admin) as page:
                _take(page, folder / "walk-wrong-key-in.png", "handshake_unknown_caller")
        _take_one(started, "no-privilege", folder / "walk-no-privilege.png")
        _take_one(started, "clock", folder / "walk-clock.png")


def _take_one(started: Browser, name: str, file: Path) -> None:
    """Take one of the proxy that knows the cause."""
    breakage = BREAKAGES[name]
    with set_up_broken(breakage) as demo, _page(started, _admin_of(demo, breakage.hop)) as page:
        _take(page, file, breakage.cause)


def _admin_of(demo: BrokenDemo, hop: str) -> str:
    return (demo.out_proxy if hop == "out" else demo.in_proxy).admin


@contextmanager
def _page(started: Browser, admin: str) -> Iterator[Page]:
    with looking(started, f"http://{admin}", size=LAPTOP) as looks:
        looks.page.wait_for_timeout(_WATCHED_MS)
        yield looks.page


def _take(page: Page, file: Path, cause: str) -> None:
    """Take what stands above the charts, down to the end of the story of a cause."""
    expect(page.locator("#findings")).not_to_contain_text("event loop")  # of a machine that is busy
    group = page.locator("#failures details").filter(has_text=cause)
    group.locator("summary").click()
    box = group.locator(".story").bounding_box()
    assert box is not None
    height = box["y"] + box["height"]
    save(page.screenshot(clip={"x": 0, "y": 0, "width": LAPTOP[0], "height": height}, full_page=True), file)


if __name__ == "__main__":
    main()
