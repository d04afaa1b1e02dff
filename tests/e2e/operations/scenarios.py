"""What operators do to proxies under load, each as often as it is told; what comes of it is a `Row`."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from click.testing import CliRunner
from msgspec import Struct, structs

from fastproxy.cli import main
from tests.certificates import Authority, write_files
from tests.e2e.link_security.tls import IN_URI, WEB_URI, replace, tls_section
from tests.e2e.operations.programs import Failure
from tests.e2e.operations.stage import HTTP, LINK, WORKER_HAS_ENDED, Row, Scale, Stage
from tests.e2e.programs import upgrade, wait_until, workers
from tests.e2e.proxies import Config, ProxyProcess, key_of
from tests.e2e.worker_processes import workers_of

NEW_WORKERS_EVERY = 10
STAGE_LIMIT_S = 120.0
"""For a stage of a rotation: long, for machines that have much else to do."""
HELD, HELD_S = 50, 30.0
"""Requests that are under way when a proxy is told to end, and how long they take."""
RATE_PER_S = 2000.0
FULL = {
    "reloads": 1000, "keys": 100, "certificates": 100, "upgrades": 20, "stops": 2, "restarts": 4, "kills": 20,
}  # fmt: skip
"""How often each of `SCENARIOS` is to be shown."""


class Outcome(NamedTuple):
    """What came of a scenario. unexplained: failures that nothing that was done there may cause."""

    row: Row
    unexplained: list[Failure]


def _outcome(row: Row) -> Outcome:
    """The outcome where nothing may fail."""
    return Outcome(row, row.failures)


# --- reloads --------------------------------------------------------------------------------------------


def reloads(folder: Path, scale: Scale) -> Outcome:
    """Reload either proxy in turn, each time with something that matters changed."""
    with Stage(folder, scale) as stage:
        load = stage.begin()
        for number, (role, changes) in zip(range(scale.count), _changes(), strict=False):
            proxy = stage.out if role == "out" else stage.inner
            how = proxy.reload(changes)["how"]
            assert how == ("new workers" if number % NEW_WORKERS_EVERY == 0 else "in place"), (number, how)
        load.wait_for_more(1)
        return _outcome(stage.end("reloads"))


def _changes() -> Iterator[tuple[str, Config]]:
    """For each reload, of which proxy it is and what its config says then that it didn't before."""
    number = 0
    while True:
        role = ("out", "in")[number // 2 % 2]
        if number % NEW_WORKERS_EVERY == 0:
            # Both proxies in turn, with one worker more or less than before.
            role = ("out", "in")[number // NEW_WORKERS_EVERY % 2]
            large = number // NEW_WORKERS_EVERY // 2 % 2 == 0
            yield role, {"workers": 3 if large else 2}
        elif role == "out" and number % 2:
            yield role, {"limits": {"idle_timeout_s": 60 + number % 9}}
        elif role == "out":
            yield role, {"defaults": {"timeout_s": 50 + number % 7}}
        elif number % 2:
            public_key = key_of(f"guest {number}").public_key.hex()
            yield role, {"callers": {f"guest-{number % 8}": {"public_keys": [public_key]}}}
        else:
            paths = ["/**", f"/only/for/{number}"]
            yield role, {"privileges": [{"callers": ["*"], "services": ["*"], "paths": paths}]}
        number += 1


# --- keys -----------------------------------------------------------------------------------------------


def key_rotations(folder: Path, scale: Scale) -> Outcome:
    """Change the caller's key by the stages of `fastproxy keys rotate`, without an hour's patience."""
    with Stage(folder, scale) as stage:
        load = stage.begin()
        public = stage.out.file.parent / "web.pub"
        for _ in range(scale.count):
            _rotate(stage.out, "prepare")
            stage.publish(public.read_text())
            _rotate(stage.out, "confirm")
            _rotate(stage.out, "use")
            # At the in proxy a session counts as used until all that it sealed has expired, 80 s later: the
            # only out proxy of this caller knows better.
            _rotate(stage.out, "retire", "--quiet-s", "0", "--admin", "http://{}:{}".format(*stage.out.admin))
            stage.publish(public.read_text())
        load.wait_for_more(1)
        used = stage.inner.metrics().by_label("fastproxy_key_uses_total", "key_id")
        row = stage.end("key rotations")
        assert len(used) == scale.count + 2, used  # by each, the first one and the receiver's own
        return _outcome(row)


def _rotate(proxy: ProxyProcess, stage: str, *options: str) -> None:
    """Run a stage until it is done: peers take changed files within a second."""
    end_s = time.monotonic() + STAGE_LIMIT_S
    while (done := CliRunner().invoke(main, ["keys", "rotate", str(proxy.file), stage, *options])).exit_code:
        assert time.monotonic() < end_s, done.output


# --- upgrades -------------------------------------------------------------------------------------------


def upgrades(folder: Path, scale: Scale) -> Outcome:
    """Replace the program of either proxy in turn; former workers may drain when the next one comes."""
    with Stage(folder, scale) as stage:
        load = stage.begin()
        former: dict[ProxyProcess, set[int]] = {proxy: set() for proxy in stage.proxies}
        for number in range(scale.count):
            proxy = stage.proxies[number % 2]
            former[proxy] |= set(workers_of(proxy.pid))
            code, said = upgrade(proxy.pid)
            assert code == 0, said
            load.wait_for_more(1)
        for proxy, pids in former.items():
            wait_until(partial(_are_gone, pids, proxy))
        return _outcome(stage.end("upgrades"))


def _are_gone(former: set[int], proxy: ProxyProcess) -> bool:
    """Whether a proxy has none of these processes any more."""
    return former.isdisjoint(workers(proxy))


# --- certificates ---------------------------------------------------------------------------------------


def certificate_rotations(folder: Path, scale: Scale) -> Outcome:
    """Give both proxies another certificate, again and again; half-way from another CA."""
    old, new = Authority("the former CA"), Authority("the next CA")
    files = {role: write_files(folder, role, old.issue([uri]), old.pem) for role, uri in _URIS.items()}
    inner: Config = {
        "private_key": None,
        "listen": {"accept": ["link"], "tls": tls_section(files["in"])},
        "callers_dir": None,
        "callers": {"web": {"tls_id": WEB_URI}},
    }
    out: Config = {
        "private_key": None,
        "tls": tls_section(files["out"]),
        "receivers": {"in": {"public_keys": None, "tls_id": IN_URI}},
    }
    with Stage(folder, scale, services=LINK, out=out, inner=inner) as stage:
        load = stage.begin()
        proxies = {"out": stage.out, "in": stage.inner}
        authority = old
        for number in range(scale.count):
            if number == scale.count // 2:
                authority = new
                for role, proxy in proxies.items():
                    with _read_again(proxy):
                        replace(files[role], authorities=old.pem + new.pem)
            for role, proxy in proxies.items():
                before = _opened(stage.inner)
                with _read_again(proxy):
                    replace(files[role], authority.issue([_URIS[role]]))
                wait_until(partial(_are_replaced, stage, before))
            # One change later: a worker that looked last may have had links made by what was on its way out.
            if number == scale.count // 2 + 1:
                for role, proxy in proxies.items():
                    with _read_again(proxy):
                        replace(files[role], authorities=new.pem)
            load.wait_for_more(1)
        return _outcome(stage.end("certificate rotations, one change of CA"))


def _opened(proxy: ProxyProcess) -> float:
    """How many links it has had."""
    return proxy.metrics().total("fastproxy_links_opened_total")


def _are_replaced(stage: Stage, before: float) -> bool:
    """Whether each worker of the out proxy has another link than before, and no former one any more."""
    open_now = stage.inner.metrics().total("fastproxy_links_open")
    return open_now == 2 and _opened(stage.inner) >= before + 2


_URIS = {"out": WEB_URI, "in": IN_URI}
_READ_AGAIN = "certificates were read again"


@contextmanager
def _read_again(proxy: ProxyProcess) -> Iterator[None]:
    """Wait until each worker has taken the files that are changed meanwhile."""
    before = len(proxy.log.find(message=_READ_AGAIN))
    yield
    for worker in range(len(workers_of(proxy.pid))):
        proxy.log.wait_for_more(before + worker, message=_READ_AGAIN)


# --- ends -----------------------------------------------------------------------------------------------


def stops(folder: Path, scale: Scale, held_s: float = HELD_S) -> Outcome:
    """Have a proxy end while requests are under way that take that long; another one stands beside it.

    First the out proxies, until the last one, then the in proxies.
    """
    beside = scale.count // 2 + 1
    with Stage(folder, scale, services=LINK, outs=beside, inners=beside) as stage:
        load = stage.begin()
        for proxy in (*stage.outs[:-1], *stage.inners[:-1])[: scale.count]:
            load.hold(HELD, held_s)
            load.wait_for_more(1)
            proxy.signal()
            proxy.log.wait_for(message="draining")
            load.wait_for_more(1)
            wait_until(partial(_has_stopped, proxy))
        load.wait_for_more(1)
        return _outcome(stage.end(f"SIGTERM, {HELD} requests of {held_s:g} s in flight"))


def restarts(folder: Path, scale: Scale, held_s: float = HELD_S) -> Outcome:
    """Restart either of two in proxies in turn, over http; each begins with an epoch that nobody knows.

    Requests are under way that take that long, and what it is sent next is sealed for the former epoch.
    """
    with Stage(folder, scale, services=HTTP, inners=2) as stage:
        load = stage.begin()
        for number in range(scale.count):
            load.hold(HELD, held_s)
            load.wait_for_more(1)
            stage.inners[number % 2].signal()
            wait_until(partial(_has_stopped, stage.inners[number % 2]))
            wait_until(partial(_has_challenged, stage.restart_inner(number % 2)))
            load.wait_for_more(1)
        return _outcome(stage.end(f"restart over http, {HELD} requests of {held_s:g} s in flight"))


def _has_challenged(proxy: ProxyProcess) -> bool:
    """Whether a proxy was sent something for another epoch than its own."""
    return proxy.metrics().total("fastproxy_challenges_total") > 0


def _has_stopped(proxy: ProxyProcess) -> bool:
    """Whether a proxy says that it has; that it ended with 0 is seen in the end."""
    return bool(proxy.log.find(message="stopped"))


def kills(folder: Path, scale: Scale) -> Outcome:
    """Kill a worker of either proxy in turn, each time any of those that there are."""
    chance = random.Random(scale.count)
    found: list[Kill] = []
    with Stage(folder, scale) as stage:
        stage.allow(WORKER_HAS_ENDED)
        load = stage.begin()
        totals = [_totals(proxy) for proxy in stage.proxies]
        for number in range(scale.count):
            proxy = stage.proxies[number % 2]
            victim = chance.choice(workers_of(proxy.pid))
            before = len(proxy.log.find(message=WORKER_HAS_ENDED))
            killed = load.kill_process(victim)
            line = proxy.log.wait_for_more(before, message=WORKER_HAS_ENDED)
            assert line["pid"] == victim
            _wait_for_workers(proxy)
            found.append(Kill(killed.killed_s, time.monotonic(), killed.under_way, line["in_flight"]))
            totals = _no_less(totals, [_totals(each) for each in stage.proxies])
            load.wait_for_more(1)
        unasked = [proxy.metrics().total(_ENDED, how="unasked") for proxy in stage.proxies]
        assert unasked == [(scale.count + 1) // 2, scale.count // 2]
        lost = int(stage.out.metrics().refusals("connection_lost"))
        row = stage.end("kills of a worker")
        note = (
            f"{sum(kill.under_way for kill in found)} were under way at the kills, in all workers; those "
            f"that were killed had last shown {sum(kill.in_flight for kill in found)}; "
            f"the out proxy has answered {lost} with 502 connection_lost"
        )
        assert sum(any(failure.began_s <= kill.killed_s <= failure.ended_s for kill in found)
                   for failure in row.failures) < sum(kill.under_way for kill in found)  # fmt: skip
        unexplained = [each for each in row.failures if not any(kill.explains(each) for kill in found)]
        return Outcome(structs.replace(row, note=note), unexplained)


class Kill(Struct, frozen=True):
    """One kill.

    killed_s, replaced_s: by the monotonic clock, when it was and when another worker took connections.
    under_way: requests in the whole load at that moment. in_flight: exchanges in the worker, as the log says.
    """

    killed_s: float
    replaced_s: float
    under_way: int
    in_flight: int

    def explains(self, failure: Failure) -> bool:
        """Whether a request was under way when the worker died, or came while nobody had seen it yet."""
        return failure.began_s <= self.replaced_s and failure.ended_s >= self.killed_s


_ENDED = "fastproxy_workers_ended_total"
_TOTALS = (_ENDED, "fastproxy_requests_total", "fastproxy_connections_accepted_total",
           "fastproxy_link_streams_total", "fastproxy_links_opened_total")  # fmt: skip


def _totals(proxy: ProxyProcess) -> list[float]:
    metrics = proxy.metrics()
    return [metrics.total(name) for name in _TOTALS]


def _no_less(former: list[list[float]], now: list[list[float]]) -> list[list[float]]:
    """Return what is counted now, which is nowhere less than before."""
    for before, after in zip(former, now, strict=True):
        is_monotone = all(later >= total for total, later in zip(before, after, strict=True))
        assert is_monotone, (_TOTALS, before, after)
    return now


def _wait_for_workers(proxy: ProxyProcess) -> None:
    """Wait until both workers take connections."""
    wait_until(lambda: proxy.metrics().total("fastproxy_workers", state="ready") == 2)


SCENARIOS: dict[str, Callable[[Path, Scale], Outcome]] = {
    "reloads": reloads,
    "keys": key_rotations,
    "certificates": certificate_rotations,
    "upgrades": upgrades,
    "stops": stops,
    "restarts": restarts,
    "kills": kills,
}
