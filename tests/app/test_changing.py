"""A config that can't be taken up after all: the proxy goes on with the former one and all that it had."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import pytest

from fastproxy.app.endpoints import Endpoints
from fastproxy.app.links import CallerLinks, ReceiverLinks
from fastproxy.app.running import Proxy
from fastproxy.config.load import load
from fastproxy.config.snapshot import Snapshot
from fastproxy.policy.pattern import parse_pattern
from tests.e2e.proxies import Config, in_config, key_of, merged, out_config, write_key

SERVICES = ("api", "shop")


class TroubleError(Exception):
    """Whatever goes wrong."""


async def in_trouble(*_: Any) -> None:
    raise TroubleError


def configs(folder: Path, role: str) -> tuple[Snapshot, Snapshot]:
    """Return a config and one that differs in much."""
    for name in ("web", "in", "other"):
        write_key(folder, name)
    if role == "in":
        plain = in_config(dict.fromkeys(SERVICES, ("127.0.0.1:1",)), {"web": key_of("web")})
        other: Config = {
            "callers": {"web": None, "shop": {"public_keys": [key_of("shop").public_key.hex()]}},
            "services": {"shop": {"endpoints": ["127.0.0.1:2"]}, "new": {"endpoints": ["localhost:3"]}},
        }
    else:
        plain = out_config(dict.fromkeys(SERVICES, ()), key_of("in"), "127.0.0.1:1")
        plain["services"]["shop"] = {"transport": "link"}
        other = {"defaults": {"timeout_s": 3}, "services": {"new": {"transport": "link"}}}
    return _loaded(folder / "first.yaml", plain), _loaded(folder / "second.yaml", merged(plain, other))


def _loaded(file: Path, config: Config) -> Snapshot:
    file.write_text(json.dumps(config))
    return load(str(file), check_pattern=parse_pattern)


def belongings(proxy: Proxy) -> list[object]:
    """What goes on from one config to the next."""
    role = proxy._role
    endpoints = proxy.parts.endpoints
    links = role.links._all if isinstance(role.links, CallerLinks) else None
    known: list[object] = [dict(proxy.parts.pools), dict(endpoints._sources), dict(links or {})]
    return [*known, endpoints._registrations, proxy.server.handler]


@pytest.mark.parametrize("role", ["in", "out"])
@pytest.mark.parametrize("where", ["look-up", "links"])
def test_a_change_that_fails_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, where: str
) -> None:
    async def run() -> None:
        snapshot, other = configs(tmp_path, role)
        proxy = Proxy(snapshot, asyncio.get_running_loop())
        await proxy.start([])
        before = belongings(proxy)
        with monkeypatch.context() as patch:
            if where == "look-up":
                patch.setattr(Endpoints, "look_up", in_trouble)
            else:
                # What goes back is taken up in the same way, so that it fails only once.
                owner, name = (ReceiverLinks, "_replace_links") if role == "in" else (CallerLinks, "_cut")
                patch.setattr(cast(object, owner), name, _once(patch))
            with pytest.raises(TroubleError):
                await proxy.change(other)
        assert belongings(proxy) == before
        assert proxy.snapshot.services == snapshot.services
        await proxy.change(other)
        assert proxy.snapshot.services == other.services
        await proxy.drain()

    asyncio.run(run())


def _once(patch: pytest.MonkeyPatch) -> Any:
    def acting(*_: Any) -> None:
        patch.undo()
        raise TroubleError

    return acting
