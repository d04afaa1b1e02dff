"""Names with markup in them: shown as text, whatever part of the page they come to."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser, expect

from tests.admin.dashboard.double import playing
from tests.admin.dashboard.finders import has_rates, search_box
from tests.admin.dashboard.played import Played
from tests.admin.dashboard.scenes import failing
from tests.browser import looking

MARKUP = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>&amp;"


def test_markup_in_every_string_is_shown_as_text(browser: Browser) -> None:
    """The double tells it everywhere: nothing becomes an element, nothing runs, and it can be read."""
    strings = {
        name: MARKUP for name, value in _failure_of().items() if isinstance(value, str) and name != "from"
    }
    played = Played(
        {(MARKUP, f"{MARKUP}2", "5xx", MARKUP): 50.0, ("chat", f"{MARKUP}3", "2xx", ""): 10.0},
        proxy={
            "name": MARKUP,
            "role": MARKUP,
            "version": MARKUP,
            "config_file": MARKUP,
            "is_ready": False,
            "not_ready": MARKUP,
        },
        failures=[{**strings, "numbers": {MARKUP: MARKUP}}],
        services=[
            {
                "name": MARKUP,
                "transport": MARKUP,
                "discovery_age_s": 1.0,
                "endpoints": [{"address": MARKUP, "state": MARKUP, "open": 0, "idle": 0, "in_flight": 0}],
            }
        ],
        limits={
            "rates": [
                {
                    "caller": MARKUP,
                    "service": MARKUP,
                    "route": MARKUP,
                    "per_s": 1.0,
                    "burst": 1.0,
                    "used": 1.0,
                    "refused": 1,
                }
            ],
            "in_use": [{"name": MARKUP, "used": 1, "limit": 1}],
        },
        links=[
            {
                "direction": MARKUP,
                "peer": MARKUP,
                "caller": MARKUP,
                "receiver": MARKUP,
                "worker": MARKUP,
                "security": MARKUP,
                "key_id": MARKUP,
                "opened_unix_s": 1.0,
                "streams_open": 1,
                "streams": 1,
                "sent_bytes": 1,
                "received_bytes": 1,
                "is_leaving": False,
                "rtt_s": None,
            }
        ],
        identities=[
            {
                "name": MARKUP,
                "kind": MARKUP,
                "key_id": MARKUP,
                "is_own": False,
                "not_after_unix_s": 1.0,
                "last_used_unix_s": 1.0,
                "uses": 1,
            }
        ],
    )
    head = {"fields": [[MARKUP, MARKUP]], "content": {"text": MARKUP}}
    played.taps = [
        {
            **strings,
            MARKUP: MARKUP,
            "started_unix_s": 1.0,
            "phases_s": {MARKUP: 1},
            "request": head,
            "answer": head,
        }
    ]
    with playing(played) as url, looking(browser, url) as looks:
        page = looks.page
        has_rates(page)
        page.locator("#failures summary").first.click()
        page.get_by_role("button", name="Start").click()
        page.locator("#tap-lines summary").last.click()
        page.locator("#as-table").click()
        for wanted in (MARKUP, f"{MARKUP}?"):
            search_box(page).fill(wanted)
            page.keyboard.press("Enter")
        expect(page.locator("#found")).to_contain_text(MARKUP)
        expect(page.locator("main img, main script, main iframe")).to_have_count(0)
        assert page.locator("img").count() == 1
        assert page.title() == f"{MARKUP} – fastproxy"
        for part in (
            "findings",
            "graph-table",
            "failures",
            "services",
            "limits",
            "links",
            "identities",
            "tap-lines",
        ):
            expect(page.locator(f"#{part}")).to_contain_text(MARKUP)


def _failure_of() -> dict[str, Any]:
    return failing().failures(0.0)[0]
