"""Takes the pictures of the dashboard in the docs: `python -m tests.admin.dashboard.pictures [FOLDER]`.

Of the double, whose numbers are the same each time, after some minutes that go by at once. Each picture is
made small with the palette that it needs.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.admin.dashboard.double import playing
from tests.admin.dashboard.played import EXCHANGE, Played
from tests.admin.dashboard.scenes import failing, healthy
from tests.browser import LAPTOP, PHONE, Looking, Theme, browser, looking

FOLDER = Path(__file__).parent.parent.parent.parent / "docs" / "pictures"
LIMIT_BYTES = 150 * 1024
_SECONDS = 150
_TALL = (LAPTOP[0], 1060)


def main() -> None:
    """Take all of them."""
    folder = folder_to_fill()
    with browser() as started:
        _take(started, healthy(), folder / "dashboard-well.png", _TALL, "light")
        _take(started, failing(), folder / "dashboard-failing.png", _TALL, "dark")
        _take(started, failing(), folder / "dashboard-phone.png", PHONE, "light")
        _take(started, failing(), folder / "dashboard-story.png", LAPTOP, "light", is_story=True)


def folder_to_fill() -> Path:
    """Return the folder that the command line names, or that of the docs."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save(raw: bytes, file: Path) -> None:
    """Make a picture small, and keep it."""
    picture = Image.open(io.BytesIO(raw)).convert("RGB").quantize(192, dither=Image.Dither.NONE)
    picture.save(file, optimize=True)
    assert file.stat().st_size < LIMIT_BYTES, file
    print(f"{file.name}: {file.stat().st_size // 1024} KiB")


def _take(
    started: Browser,
    played: Played,
    file: Path,
    size: tuple[int, int],
    theme: Theme,
    *,
    is_story: bool = False,
) -> None:
    with playing(played) as url, looking(started, "about:blank", size=size, theme=theme) as looks:
        looks.problems.clear()
        _let_time_go_by(looks, played, url)
        page = looks.page
        if is_story:
            page.get_by_label("Caller, service, exchange id or trace id").fill(EXCHANGE)
            page.keyboard.press("Enter")
            expect(page.locator("#found")).to_contain_text("What to do")
        page.evaluate("scrollTo(0, 0)")
        raw = page.locator("#found").screenshot() if is_story else page.screenshot()
        looks.problems.clear()
    save(raw, file)


def _let_time_go_by(looks: Looking, played: Played, url: str) -> None:
    page: Page = looks.page
    now_s = played.begun_unix_s + 100
    played.clock = lambda: now_s
    page.clock.install(time=now_s)
    page.goto(url)
    now_s += 60  # of which loading takes some
    page.clock.pause_at(now_s)
    while page.locator("#board").is_hidden():
        page.clock.run_for(100)
    for _ in range(_SECONDS):
        looks_before = looks.count("/traffic")
        while looks.count("/traffic") == looks_before:
            now_s += 0.1
            page.clock.run_for(100)


if __name__ == "__main__":
    main()
