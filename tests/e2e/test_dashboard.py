"""The dashboard of running proxies in a browser: what a person sees of calls that go through a pair."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import browser as started_browser
from tests.browser import looking
from tests.e2e.client import Client
from tests.e2e.conftest import Maker
from tests.e2e.proxies import Pair, ProxyProcess, endpoint_of, reserved_port
from tests.e2e.services import answering, sized

_PAUSE_S = 0.02
_RATE = {"per_s": 0.1, "burst": 1}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all; it ends with the module, whose thread has its event loop until then."""
    with started_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def pair(make_shared: Maker) -> Iterator[Pair]:
    """A pair over a link that is called all the time: `api` answers, nothing listens for `gone`."""
    service = make_shared.service(answering(sized(b"fine")))
    with reserved_port() as port, ExitStack() as stack:
        pair = make_shared.pair(
            {"api": [service.endpoint], "gone": [f"127.0.0.1:{port}"]},
            out={"defaults": {"transport": "link"}, "admin": {"open": ["reading"]}},
            inner={
                "admin": {"open": ["reading"]},
                "privileges": [
                    {
                        "callers": ["*"],
                        "services": ["api"],
                        "paths": ["/slow/**"],
                        "rate": _RATE,
                    },
                    {"callers": ["*"], "services": ["api"], "paths": ["/x"]},
                    {"callers": ["*"], "services": ["gone"]},
                ],
            },
        )
        stack.enter_context(_called(pair, "/api/x"))
        yield pair


@contextmanager
def _called(pair: Pair, target: str) -> Iterator[None]:
    """Have a caller that calls all the time."""
    is_over = threading.Event()

    def call() -> None:
        with Client(pair.address) as client:
            while not is_over.wait(_PAUSE_S):
                assert client.request("GET", target).status == 200

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def page_of(proxy: ProxyProcess) -> str:
    """Where a proxy's dashboard is."""
    return f"http://{endpoint_of(proxy.admin)}"


def row_of(page: Page, caller: str, service: str) -> re.Match[str]:
    """What the graph says of a caller and a service, once there are calls."""
    row = page.get_by_role("button", name=re.compile(rf"^{caller} calls {service}: [1-9]"))
    label = row.get_attribute("aria-label") or ""
    found = re.fullmatch(
        r".*: (?P<rate>[\d.]+)/s, (?P<failing>.+) % failing, p50 [\d.]+ \w+, p99 [\d.]+ \w+",
        label,
    )
    assert found is not None, label
    return found


def test_both_proxies_show_the_call_with_rate_and_latency(browser: Browser, pair: Pair) -> None:
    with looking(browser, page_of(pair.out)) as at_out, looking(browser, page_of(pair.inner)) as at_in:
        for page, role in ((at_out.page, "out"), (at_in.page, "in")):
            row = row_of(page, "web", "api")
            assert row["failing"] == "0"
            assert 1 <= float(row["rate"]) <= 2 / _PAUSE_S
            expect(page.locator("#role")).to_have_text(f"{role} proxy")
            expect(page.locator("svg.lines path.line")).not_to_have_count(0)
            links = page.locator("#links tbody tr")
            expect(links).to_have_count(1)
            expect(links).to_contain_text("web")
            expect(page.locator("#identities tbody tr")).to_have_count(2)
            expect(page.locator("#workers tbody tr")).to_contain_text("ready")
            expect(page.locator("#services tbody")).to_contain_text("● ok")
            for chart in page.locator("#chart-list figure").all():
                expect(chart.locator("canvas")).to_be_visible()
                expect(chart.locator(".legend .value").first).to_have_text(re.compile(r"\d"))


FAILURES = {
    "connect_refused": ("/gone/x", 503, "gave it up while it connected to the service", "endpoint"),
    "no_privilege": ("/api/secret", 403, "refused it when it looked for a privilege", "privileges lack"),
    "rate_limited": ("/api/slow/x", 429, "refused it when it counted against the rate", "burst"),
}
"""By cause: what is called, the answer, what the page says of it, and a fact that it shows."""


def test_failures_are_told_in_words_and_found_by_their_exchange(browser: Browser, pair: Pair) -> None:
    pair.fetch("GET", FAILURES["rate_limited"][0])  # may pass
    failed = {cause: pair.fetch("GET", target) for cause, (target, *_) in FAILURES.items()}
    with looking(browser, page_of(pair.inner)) as looks:
        page = looks.page
        for cause, (_, status, words, fact) in FAILURES.items():
            assert failed[cause].status == status
            exchange = failed[cause].exchange
            group = page.locator("#failures details").filter(has_text=cause)
            group.locator("summary").click()
            story = group.locator(".story")
            expect(story).to_contain_text(f"in (in proxy) {words}")
            expect(story).to_contain_text("What to do: ")
            expect(story.locator("dt").filter(has_text=re.compile(f"^{fact}$"))).to_have_count(1)
            page.get_by_label("Caller, service, exchange id or trace id").fill(exchange)
            page.keyboard.press("Enter")
            expect(page.locator("#found")).to_contain_text(f"Found of {exchange}")
            expect(page.locator("#found .story")).to_contain_text(words)


def test_the_tap_shows_calls_live_by_its_filter_and_ends_at_the_proxy(browser: Browser, pair: Pair) -> None:
    log = pair.inner.log
    ended = len(log.find(message="tap ends"))
    with looking(browser, page_of(pair.inner)) as looks:
        page = looks.page
        status, state = page.locator("#tap-status"), page.locator("#tap-state")
        lines = page.locator("#tap-lines > li")
        status.fill("4xx")
        page.get_by_role("button", name="Start").click()
        expect(state).to_have_text("Running. 0 seen.")
        refused = pair.fetch("GET", "/api/secret")
        expect(state).to_have_text("Running. 1 seen.")  # and none of those that go well all the time
        for part in ("web → api", "GET /secret", "▲ 403", "no_privilege"):
            expect(lines).to_contain_text(part)
        lines.locator("summary").click()
        expect(lines.locator(".story")).to_contain_text(refused.exchange)
        page.get_by_role("button", name="Stop").click()
        line = log.wait_for_more(ended, message="tap ends")
        assert (line["shown"], line["access"], line["redacted"]) == (1, "reading", True)
        assert "4xx" in str(line["filter"])
        expect(state).to_have_text("Stopped. 1 seen.")
        status.fill("")
        page.get_by_role("button", name="Start").click()
        expect(lines.first).to_contain_text("GET /x")
    assert log.wait_for_more(ended + 1, message="tap ends")["shown"] >= 1  # the page was left


def test_a_proxy_that_nobody_may_read_says_what_to_do(browser: Browser, make: Maker) -> None:
    proxy = make.in_proxy({"api": ["127.0.0.1:9"]}, {"workers": 1})
    with looking(browser, page_of(proxy)) as looks:
        closed = looks.page.locator("#closed")
        expect(closed).to_contain_text("admin.open: [reading]")
        expect(looks.page.locator("#board")).to_be_hidden()


def test_the_page_comes_with_its_policy_and_from_files_alone(pair: Pair) -> None:
    answer = pair.inner.probe("/")
    assert (answer.status, answer.get("content-type")) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in answer.get("content-security-policy")
    assert pair.inner.probe("/assets/main.js").get("content-type") == "text/javascript; charset=utf-8"
    for path in ("/assets/../files.py", "/assets/%2e%2e/files.py", "/assets/nothing.js", "/index.html"):
        assert pair.inner.probe(path).status == 404
    with Client(pair.inner.admin) as client:
        assert client.request("POST", "/", host="localhost").status == 405
