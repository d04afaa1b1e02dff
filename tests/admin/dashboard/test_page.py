"""What the dashboard shows in a browser, over a double of the API.

What it shows of a real pair is tested in `tests/e2e/test_dashboard.py`.
"""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from fastproxy.errors import TABLE
from fastproxy.telemetry.failure_words import REFUSALS, advice_on
from fastproxy.telemetry.failures import HANDSHAKE
from tests.admin.dashboard.finders import edge, has_rates, is_there
from tests.admin.dashboard.played import Played
from tests.browser import LAPTOP, PHONE, Theme, looking


def test_it_is_quiet_when_all_is_well(browser: Browser, well: tuple[Played, str]) -> None:
    with looking(browser, well[1]) as looks:
        page = looks.page
        has_rates(page)
        expect(page.locator("#findings p")).to_have_text(
            [re.compile("All is well. .* calls in the last .*, none failed")]
        )
        expect(page.locator('[data-tone="bad"], [data-tone="soon"], .line.bad')).to_have_count(0)
        expect(page.locator("#announced")).to_have_text(re.compile("answers|All is well"))
        label = edge(page, "song", "media_service").get_attribute("aria-label") or ""
        assert re.fullmatch(
            r"song calls media_service: [1-9][\d,.k]*/s, 0 % failing, p50 1\.\d+ ms, p99 [\d.]+ ms", label
        )
        expect(page.locator("svg.lines path")).to_have_count(6)


def test_what_fails_is_said_in_words_and_by_form(browser: Browser, ill: tuple[Played, str]) -> None:
    played, url = ill
    with looking(browser, url) as looks:
        page = looks.page
        findings = page.locator("#findings")
        expect(findings).to_contain_text(
            re.compile(r"chat → token_service: 1\d.* % of .* calls failed in .*, most by rate_limited")
        )
        expect(findings).to_contain_text("1 of 2 endpoints of order_service is failing: 10.2.0.5:8080.")
        expect(findings).to_contain_text("The key of song ends in 6 d.")
        expect(findings).not_to_contain_text("has ended")  # the one before it, which nobody needs any more
        expect(page.locator("#identities tbody tr").last).to_contain_text("▲ has ended")
        expect(edge(page, "billing", "order_service")).to_contain_text("▲")
        expect(page.locator("svg.lines path.bad")).to_have_count(2)
        page.locator("#failures summary").filter(has_text="No endpoint took the connection").click()
        story = page.locator("#failures .story")
        expect(story).to_contain_text("shop-in (in proxy) gave it up while it connected to the service")
        expect(story).to_contain_text("10.2.0.5:8080 refused the connection")
        expect(story).to_contain_text("What to do: Check that the next hop runs")
        expect(story.locator("dl")).to_contain_text("budget left8.5 s")
        expect(page.locator("#announced")).to_have_text(re.compile(r"\d things to look at"))
        # Another one of its kind comes while it is being read, which stays as it is.
        group = page.locator("#failures details[open]")
        told = story.inner_text()
        played.parts["failures"].append({**played.parts["failures"][-2], "ago_s": 0.0, "exchange": "another"})
        expect(group.locator(".failure-number")).to_have_text("×6")
        assert story.inner_text() == told


def test_it_can_be_read_in_both_themes_and_sizes(browser: Browser, ill: tuple[Played, str]) -> None:
    """By axe-core's rules for contrast, names, landmarks, headings; and none of it is wider than a window."""
    shown: tuple[tuple[Theme, tuple[tuple[int, int], ...]], ...] = (
        ("light", (LAPTOP, PHONE)),
        ("dark", (PHONE, LAPTOP)),
    )
    with looking(browser, ill[1], bypass_csp=True) as looks:
        page = looks.page
        is_there(page)
        page.locator("#failures summary").first.click()
        for theme, sizes in shown:
            page.emulate_media(color_scheme=theme)
            for width, height in sizes:
                page.set_viewport_size({"width": width, "height": height})
                looks.fits(width)
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (theme == "dark")
            found = Axe().run(page, options={"resultTypes": ["violations"]})
            assert found.response["violations"] == [], found.generate_report()


def test_it_says_since_when_the_proxy_cannot_be_reached(browser: Browser, well: tuple[Played, str]) -> None:
    played, url = well
    with looking(browser, url) as looks:
        page = looks.page
        is_there(page)
        played.is_gone = True
        expect(page.locator("#lost")).to_have_text(
            re.compile(r"can't be reached since \d\d:\d\d:\d\d, \d+ s ago: no")
        )
        expect(page.locator("#announced")).to_have_text("This proxy can't be reached.")
        expect(page.locator("#graph")).to_contain_text("media_service")
        played.is_gone = False
        expect(page.locator("#connection")).to_have_text("live")
        expect(page.locator("#lost")).to_be_hidden()


def test_the_numbers_behind_it(browser: Browser, well: tuple[Played, str]) -> None:
    """The modules that count, asked without the page around them."""
    with looking(browser, well[1]) as looks:
        found = looks.page.evaluate(
            """async () => {
              const { percentile } = await import("/assets/histogram.js");
              const { Readings, flowKey } = await import("/assets/readings.js");
              const { whereItFailed } = await import("/assets/failures.js");
              const { duration, share, short, bytes, named } = await import("/assets/words.js");
              const row = (count, buckets, cause = "") => ({ outcome: "2xx", cause, count, buckets });
              const readings = new Readings();
              const take = (atS, ...outcomes) => readings.take({ at_unix_s: atS, bounds_s: [1, 2],
                own_bounds_s: [], own: [], rows: [{ caller: "a", service: "b", route: "", outcomes }] });
              take(10, row(100, [100, 0, 0]));
              take(12, row(104, [102, 1, 1]), row(1, [1, 0, 0], "no_endpoint"));
              take(13, row(2, [2, 0, 0]));    // another program counts: from nothing
              take(14, row(5, [5, 0, 0]));
              const flow = readings.last(10).flows.get(flowKey("a", "b"));
              return {
                percentiles: [[[0, 0, 0], 0.5], [[10, 0, 0], 0.5], [[0, 4, 0], 0.5], [[0, 0, 4], 0.5],
                  [[5, 5, 0], 0.9]].map(([counts, part]) => percentile([1, 2], counts, part)),
                flow: [flow.count, flow.failed, flow.buckets], seconds: readings.last(10).seconds,
                next: whereItFailed({ role: "out", hop: "o", from: "next hop", status: 503, phase: "connect",
                  endpoint: "h:1", duration_s: 0 }),
                words: [...[0.000021, 0.0032, 1.5, 400, -3].map(duration),
                  ...[0, 0.00001, 0.125, 0.9999].map(share),
                  short(1234), short(56789), bytes(1536), named("retry_after_s", 0.4).join(" "),
                  named("per_s", 5).join(" "), named("limit", 7).join(" ")],
              };
            }"""
        )
    assert found["percentiles"] == [None, 0.5, 1.5, 2, pytest.approx(1.8)]
    assert found["flow"] == [8, 1, [6, 1, 1]]
    assert found["seconds"] == 3
    assert found["next"] == (
        "The in proxy at h:1 gave it up while it connected to the service; o (out proxy) had its answer. "
        "The in proxy's own page has the numbers that decided it, under the same exchange id."
    )
    assert found["words"] == [
        "21 µs",
        "3.2 ms",
        "1.5 s",
        "7 min",
        "−3 s",
        "0 %",
        "<0.01 %",
        "12.5 %",
        ">99.9 %",
        "1,234",
        "56.8k",
        "1.5 KiB",
        "retry after 400 ms",
        "rate 5/s",
        "limit 7",
    ]


def test_every_cause_there_is_is_told_in_words(browser: Browser, well: tuple[Played, str]) -> None:
    played, url = well
    told = {row.label: (row.title, row.advice, row.phase, row.status) for row in TABLE.values()}
    told |= {
        f"{HANDSHAKE}_{label}": (f"A link was refused: {words}", advice_on(label), HANDSHAKE, 0)
        for label, words in REFUSALS.items()
    }
    played.parts["failures"] = [
        {
            "cause": cause, "title": title, "advice": advice, "phase": phase, "status": status,
            "detail": f"as {cause} has it", "exchange": f"x{number}", "ago_s": float(number),
        }
        for number, (cause, (title, advice, phase, status)) in enumerate(told.items())
    ]  # fmt: skip
    with looking(browser, url) as looks:
        groups = looks.page.locator("#failure-list details")
        expect(groups).to_have_count(len(told))
        groups.evaluate_all("all => all.forEach(group => { group.open = true; })")
        expect(looks.page.locator("#failure-list .story")).to_have_count(len(told))
        for text, (cause, (title, advice, _, _)) in zip(groups.all_inner_texts(), told.items(), strict=True):
            assert title in text
            assert f"as {cause} has it" in text
            assert f"What to do: {advice.replace('`', '')}" in text
