"""Fixed addresses need no look-up."""

import asyncio

from fastproxy.discovery.dns import DnsSource
from fastproxy.discovery.fixed import FixedSource
from fastproxy.discovery.source import Source, source_of
from fastproxy.model import Endpoint
from tests.discovery.addresses import ip, name, unix


def test_fixed_endpoints_keep_their_order_and_never_age() -> None:
    async def play() -> None:
        source = source_of(
            [ip("192.0.2.2"), unix("/run/a"), ip("::1"), ip("192.0.2.2")], refresh_s=5, timeout_s=2
        )
        assert isinstance(source, FixedSource)
        await source.start()
        addresses = [endpoint[:2] for endpoint in source.endpoints]
        assert addresses == [("192.0.2.2", 80), ("/run/a", 0), ("::1", 80)]
        assert source.endpoints[0].authority == "192.0.2.2:80"
        assert source.age_s(1e9) == 0.0
        await source.close()

    asyncio.run(play())


def test_one_name_makes_it_a_dns_source() -> None:
    source: Source = source_of([ip("192.0.2.2"), name("api")], refresh_s=5, timeout_s=2)
    assert isinstance(source, DnsSource)
    assert source.endpoints == (Endpoint("192.0.2.2", 80, "192.0.2.2:80"),)
