"""A mistake of the proxies themselves is answered, logged with the exchange id, and hurts nobody else."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from fastproxy.proxy.http_lane import HttpLane
from fastproxy.proxy.in_flow import InFlow
from fastproxy.proxy.over_http import OverHttp
from fastproxy.proxy.to_service import ToService
from tests.net.chain import REQUEST, Chain


def fail(*_: Any) -> None:
    raise RuntimeError("an unforeseen case")


async def fail_later(*_: Any) -> None:
    fail()


@pytest.mark.parametrize(
    ("part", "method", "role"),
    [
        (OverHttp, "attempt", "out"),
        (ToService, "attempt", "in"),
        (HttpLane, "open", "out"),
        (InFlow, "land", "in"),
    ],
)
def test_it_is_answered_with_500(
    part: type,
    method: str,
    role: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def play() -> None:
        chain = Chain(tmp_path, asyncio.get_running_loop())
        if method == "attempt":
            chain.forget_the_short_way()
        with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
            patch.setattr(part, method, fail_later if method == "attempt" else fail)
            answer = call_that_goes_wrong(chain, role) if method == "attempt" else chain.call()
        assert answer.startswith(b"HTTP/1.1 500 ")
        problem = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert (problem["cause"], problem["hop"]) == ("internal_error", role)
        (record,) = (record for record in caplog.records if record.exc_info)
        assert problem["exchange"] == record.__dict__["exchange"]
        assert chain.call().startswith(b"HTTP/1.1 200 "), "the next call is unharmed"

    asyncio.run(play())


def call_that_goes_wrong(chain: Chain, role: str) -> bytes:
    """Hand the request over as far as it comes."""
    chain.caller.protocol.data_received(REQUEST)
    if role == "in":
        chain.reach_the_in_proxy()
        chain.return_its_answer()
    return chain.caller.written
