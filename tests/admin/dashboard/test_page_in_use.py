"""What a person does with the dashboard: search, tap, keyboard, themes, a token; and how often it asks."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Locator, Page, expect

from tests.admin.dashboard.finders import edge, has_rates, is_there, search_box
from tests.admin.dashboard.played import EXCHANGE, TRACE, Played
from tests.browser import Looking, looking


def test_search_tells_the_story_of_an_exchange_and_a_trace(browser: Browser, ill: tuple[Played, str]) -> None:
    with looking(browser, ill[1]) as looks:
        page = looks.page
        search_box(page).fill(EXCHANGE)
        page.keyboard.press("Enter")
        found = page.locator("#found")
        expect(found).to_contain_text("refused it when it counted against the rate")
        found.get_by_role("button", name=TRACE).click()
        expect(found).to_contain_text("What failed in this trace, newest first")
        search_box(page).fill("no-such-thing")
        page.keyboard.press("Enter")
        expect(found).to_contain_text("No caller or service has this name")
        search_box(page).fill("token_service")
        page.keyboard.press("Enter")
        expect(found).to_be_hidden()
        expect(page.locator("#scope-service")).to_have_value("token_service")
        expect(page.locator("#failures-scope")).to_have_text("calls of token_service")


def test_the_tap_shows_lines_and_counts_what_was_dropped(browser: Browser, well: tuple[Played, str]) -> None:
    played, url = well
    line = {
        "exchange": EXCHANGE,
        "started_unix_s": 1.0,
        "caller": "chat",
        "service": "token_service",
        "method": "GET",
        "status": 503,
        "cause": "no_endpoint",
        "duration_s": 0.002,
        "phases_s": {"pick": 0.0019},
        "request": {"fields": [["cookie", "(redacted)"]], "content": {"text": "what it said"}},
        "answer": None,
    }
    played.taps = [*({**line, "path": f"/v1/{number}"} for number in range(300)), {"dropped": 17}]
    with looking(browser, url) as looks:
        page = looks.page
        page.get_by_label("Status").fill("5xx")
        page.get_by_role("button", name="Start").click()
        expect(page.locator("#tap-state")).to_have_text(
            re.compile("The proxy has ended it. 300 seen. 17 were dropped")
        )
        lines = page.locator("#tap-lines > li")
        expect(lines).to_have_count(200)
        expect(lines.first).to_contain_text("/v1/299")
        lines.first.locator("summary").click()
        for part in ("in pick1.9 ms", "cookie(redacted)", "what it said"):
            expect(lines.first.locator(".story")).to_contain_text(part)
        assert any(asked.endswith("/api/v1/tap?status=5xx") for asked in looks.asked)


def test_the_switch_of_themes_is_kept(browser: Browser, well: tuple[Played, str]) -> None:
    with looking(browser, well[1], theme="light") as looks:
        page = looks.page
        is_there(page)
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        for name in ("Theme: system", "Theme: light"):
            page.get_by_role("button", name=name).click()
        page.reload()
        is_there(page)
        expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_all_of_it_can_be_done_by_keyboard(browser: Browser, ill: tuple[Played, str]) -> None:
    with looking(browser, ill[1]) as looks:
        page = looks.page
        has_rates(page)  # with the second look, other lines come first than with the first
        press = page.keyboard.press
        press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        expect(page.get_by_role("link", name="Skip to content")).to_be_in_viewport()
        press("Enter")
        expect(page.locator("main")).to_be_focused()
        for wanted in (
            page.locator("#findings a").first,
            page.locator("#as-table"),
            page.get_by_role("button", name="billing", exact=True),
            edge(page, "billing", "order_service"),
        ):
            _tab_to(page, wanted)
        press("Enter")
        expect(edge(page, "billing", "order_service")).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#scope-caller")).to_have_value("billing")
        _tab_to(page, page.locator("#failures summary").first)
        press("Enter")
        expect(page.locator("#failures .story")).to_contain_text("What to do")
        _tab_to(page, page.locator("#failures .story button.id").first)
        press("Enter")
        expect(page.locator("#found")).to_be_focused()
        _tab_to(page, page.locator("#found-close"))
        press("Enter")
        expect(page.locator("#found")).to_be_hidden()


def _tab_to(page: Page, wanted: Locator) -> None:
    """Go on until something has the focus, each step of which can be seen."""
    wanted.wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        has_focus, outline = wanted.evaluate(
            "node => [node === document.activeElement, getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert outline != "none", page.evaluate("document.activeElement.outerHTML")
        if has_focus:
            return
    raise AssertionError(f"{wanted} can't be reached")


def test_a_token_is_asked_for_and_kept_by_the_tab_alone(browser: Browser, well: tuple[Played, str]) -> None:
    played, url = well
    played.token = "a-token-of-16-chars"
    with looking(browser, url) as looks:
        page = looks.page
        field = page.get_by_label("Token")
        expect(field).to_be_focused()
        expect(page.locator("#board")).to_be_hidden()
        field.fill("another-token-of-16")
        page.keyboard.press("Enter")
        expect(page.locator("#sign-in-words")).to_contain_text("That was refused")
        field.fill(played.token)
        page.keyboard.press("Enter")
        is_there(page)
        page.reload()
        is_there(page)
        assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        assert not any(played.token in asked for asked in looks.asked)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0


def test_it_asks_once_a_second_and_only_while_it_is_seen(browser: Browser, well: tuple[Played, str]) -> None:
    """By a clock of the test's own."""
    with looking(browser, well[1]) as looks:
        page = looks.page
        is_there(page)
        page.clock.install(time=0)
        page.reload()
        page.clock.pause_at(60)  # a computer whose clock is far behind the proxy's
        _ms_until_it_asks(looks)
        expect(page.locator("#since")).to_have_text("up 26 h")
        for _ in range(3):
            assert _ms_until_it_asks(looks) >= 950
        page.evaluate(
            "() => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => true });"
            " document.dispatchEvent(new Event('visibilitychange')); }"
        )
        before = looks.count("/traffic")
        for _ in range(60):
            page.clock.run_for(1000)
        assert looks.count("/traffic") == before
        page.evaluate(
            "() => { delete document.hidden; document.dispatchEvent(new Event('visibilitychange')); }"
        )
        _ms_until_it_asks(looks)


def _ms_until_it_asks(looks: Looking) -> int:
    """Let time go by until it looks at traffic again; return how much."""
    before = looks.count("/traffic")
    for number in range(2000):
        if looks.count("/traffic") > before:
            return number * 50
        looks.page.clock.run_for(50)
    raise AssertionError("it doesn't ask")
