"""A real Prometheus that scrapes a real pair has an answer to all that the dashboard and the alerts ask."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from fastproxy.telemetry.exposition import CATALOGUE
from tests.e2e.metrics.conftest import ask, program
from tests.e2e.proxies import Pair, endpoint_of, reserved_port

ROOT = Path(__file__).parents[3]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/fastproxy.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]

ASKED = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
} | {rule["alert"]: rule["expr"] for rule in RULES}
"""All expressions, by what asks."""
SELDOM = {
    "fastproxy_would_refuse_total",  # only where refusals are reported instead of enforced
    "fastproxy_link_handshake_failures_total",
    "fastproxy_links_ended_total",
}
"""What has no series until it happens."""
_WAIT_S = 90.0


class Prometheus:
    """A Prometheus that scrapes two proxies every second."""

    def __init__(self, folder: Path, pair: Pair, port: int) -> None:
        targets = [endpoint_of(proxy.admin) for proxy in (pair.out, pair.inner)]
        scrape = {"job_name": "fastproxy", "static_configs": [{"targets": targets}]}
        config = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self._address = f"127.0.0.1:{port}"
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={self._address}",
                "--log.level=warn",
            ],
            stderr=self._log,
        )

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """What it answers now; nothing as long as it isn't there."""
        query = urlencode({"query": expression})
        try:
            with urlopen(f"http://{self._address}/api/v1/query?{query}", timeout=10) as answer:
                result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except ConnectionError:
            return []
        except OSError as error:
            if (
                isinstance(getattr(error, "reason", None), ConnectionError)
                or getattr(error, "code", 0) == 503
            ):
                return []
            raise
        return result

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


@pytest.fixture(scope="module")
def prometheus(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus, with a little load on what it scrapes."""
    is_over = threading.Event()

    def call() -> None:
        while not is_over.wait(0.2):
            for target in (
                "/api/open/x",
                "/api/items/1",
                "/old/open/x",
                "/api/limited",
                "/api/none",
                "/api/open/status/503",
            ):
                ask(pair, target)

    with reserved_port() as port:
        load = threading.Thread(target=call)
        load.start()
        server = Prometheus(tmp_path_factory.mktemp("prometheus"), pair, port)
        yield server
        server.close()
        is_over.set()
        load.join()


def filled_in(expression: str) -> str:
    """An expression as Grafana would send it, of everything; of an alert without what it is compared to."""
    expression = expression.replace("$__rate_interval", "1m")
    expression = re.sub(r"\$(instance|caller|service)\b", ".*", expression)
    return re.sub(r"\s(==|<|>)\s+[-0-9.* ]+\s*$", "", expression)


@pytest.mark.parametrize("asked", ASKED)
def test_all_that_is_asked_has_an_answer(prometheus: Prometheus, asked: str) -> None:
    expression = filled_in(ASKED[asked])
    pause, waited_s = threading.Event(), 0.0
    found = prometheus.ask(expression)
    while not found and not any(name in expression for name in SELDOM) and waited_s < _WAIT_S:
        pause.wait(0.25)  # until it has scraped often enough
        waited_s += 0.25
        found = prometheus.ask(expression)
    assert found or any(name in expression for name in SELDOM), expression


@pytest.mark.parametrize("asked", ASKED)
def test_only_metrics_that_there_are_are_asked_for(asked: str) -> None:
    for name in re.findall(r"\bfastproxy_\w+", ASKED[asked]):
        assert re.sub(r"_(total|bucket|sum|count|info)$", "", name) in CATALOGUE or name in CATALOGUE


def test_alerts_say_what_is_wrong_and_what_to_do() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"].keys() == {"summary", "action"}
        assert "$labels.instance" in rule["annotations"]["summary"]


def test_panels_say_what_they_show_and_have_their_own_places() -> None:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert all(panel["description"] and panel["targets"] for panel in panels)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
