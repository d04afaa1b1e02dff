"""Which source a service gets, and what is registered at the center."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import Mock

import pytest

from fastproxy.app.endpoints import Endpoints
from fastproxy.config.load import load
from fastproxy.config.snapshot import InSnapshot, Snapshot
from fastproxy.discovery.center import CenterSource
from fastproxy.discovery.dns import DnsSource
from fastproxy.discovery.fixed import FixedSource
from fastproxy.net.timers import Wheel
from fastproxy.policy.pattern import parse_pattern
from tests.e2e.proxies import write_key
from tests.e2e.services import Conversation, ScriptedService, answering, sized

IN = """
role: in
name: shop
listen: {address: "192.0.2.1:8033"}
private_key: {file: shop.key}
callers: {}
services:
  cart: {endpoints: [center]}
  shop: {endpoints: ["center:cart"]}
  pay: {endpoints: ["127.0.0.1:9000"]}
  mail: {endpoints: ["mail.example:80"]}
"""


def loaded(folder: Path, text: str) -> Snapshot:
    write_key(folder, "shop")
    (folder / "config.yaml").write_text(text)
    return load(folder / "config.yaml", check_pattern=parse_pattern, environ={})


def endpoints_of(snapshot: Snapshot) -> Endpoints:
    loop = Mock(spec=asyncio.AbstractEventLoop)
    return Endpoints(snapshot, Wheel(loop), loop)


def test_each_service_gets_the_source_that_its_config_says(tmp_path: Path) -> None:
    snapshot = loaded(tmp_path, f'{IN}center: {{url: "http://127.0.0.1:1"}}\n')
    endpoints = endpoints_of(snapshot)
    sources = {name: endpoints.source(service) for name, service in snapshot.services.items()}
    kinds = {name: type(source) for name, source in sources.items()}
    assert kinds == {"cart": CenterSource, "shop": CenterSource, "pay": FixedSource, "mail": DnsSource}
    assert sources["cart"] is sources["shop"], "one name, one watcher"


@pytest.mark.parametrize(
    ("more", "names"),
    [("", ["cart", "mail", "pay", "shop"]), (", register: false", [])],
    ids=["registers", "doesn't"],
)
def test_an_in_proxy_registers_its_own_name_and_its_services_each_once(
    tmp_path: Path, more: str, names: list[str]
) -> None:
    with ScriptedService(answering(sized(b"{}"))) as center:
        snapshot = loaded(tmp_path, f'{IN}center: {{url: "http://{center.endpoint}"{more}}}\n')
        assert isinstance(snapshot, InSnapshot)

        async def run() -> None:
            loop = asyncio.get_running_loop()
            wheel = Wheel(loop)
            endpoints = Endpoints(snapshot, wheel, loop)
            await endpoints.register()
            await endpoints.deregister()
            await endpoints.close()
            wheel.close()

        asyncio.run(run())
        said = sorted(request.start for request in center.requests)
    paths = [f"/v1/receivers/{name}/endpoints/192.0.2.1%3A8033" for name in names]
    assert said == [f"{method} {path} HTTP/1.1" for method in ("DELETE", "PUT") for path in paths]


def test_a_hanging_center_does_not_hold_up_a_receiver_that_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def script(conversation: Conversation) -> None:
        while conversation.request().start.startswith("PUT"):
            conversation.send(sized(b"{}"))
        conversation.until_gone()

    with ScriptedService(script) as center:
        snapshot = loaded(tmp_path, f'{IN}center: {{url: "http://{center.endpoint}"}}\n')

        async def run() -> None:
            loop = asyncio.get_running_loop()
            wheel = Wheel(loop)
            endpoints = Endpoints(snapshot, wheel, loop)
            await endpoints.register()
            await endpoints.deregister()
            await endpoints.close()
            wheel.close()

        asyncio.run(run())
    assert "the center hangs while this receiver goes" in caplog.text
