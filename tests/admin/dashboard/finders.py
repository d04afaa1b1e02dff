"""What is looked for in the dashboard, and waited for."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect


def edge(page: Page, caller: str, service: str) -> Locator:
    """The row of the graph from a caller to a service."""
    return page.get_by_role("button", name=re.compile(rf"^{caller} calls {service}: "))


def search_box(page: Page) -> Locator:
    """Where names and ids are searched for."""
    return page.get_by_label("Caller, service, exchange id or trace id")


def is_there(page: Page) -> None:
    """Wait until the page has looked."""
    expect(page.locator("#board")).to_be_visible()


def has_rates(page: Page) -> None:
    """Wait until the page has looked twice."""
    expect(page.locator("#figures dd").first).to_have_text(re.compile(r"/s$"))
