"""The admin API of running proxies: what it tells, to whom, and that it keeps to its own document."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fastproxy.admin.api.operations import OPERATIONS
from tests.e2e.client import Answer, Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.proxies import Pair, ProxyProcess, endpoint_of, key_of
from tests.e2e.services import answering, sized

TOKEN, READER = "the-token-of-the-owner", "the-token-that-only-reads"
PSK = "5e" * 32
READS = [one for one in OPERATIONS if one.method == "GET" and not one.changes and "{" not in one.path]
CHANGES = [one for one in OPERATIONS if one.changes]


@pytest.fixture(scope="module")
def pair(make_shared: Maker, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A pair over a link; the in proxy's admin address asks for tokens, the out proxy's is a Unix socket."""
    folder = tmp_path_factory.mktemp("secrets")
    for name, text in (("token", TOKEN), ("reader", READER), ("psk", PSK)):
        file = folder / name
        file.write_text(text + "\n")
        file.chmod(0o600)
    service = make_shared.service(answering(sized(b"fine")))
    tokens = {"token": {"file": str(folder / "token")}, "reader_token": {"file": str(folder / "reader")}}
    receivers = {"receivers": {"in": {"psk": {"file": str(folder / "psk")}}}}
    privilege = {"callers": ["*"], "services": ["api"], "rate": {"per_s": 1000.0, "burst": 100}}
    public_keys = [key_of_web()]
    return make_shared.pair(
        {"api": [service.endpoint]},
        out={"defaults": {"transport": "link"}, "admin": {"address": f"unix:{folder}/out.sock"}} | receivers,
        inner={
            "admin": tokens,
            "privileges": [privilege],
            "callers": {"web": {"public_keys": public_keys, "psk": {"file": str(folder / "psk")}}},
            "workers": 2,
        },
    )


def key_of_web() -> str:
    return key_of("web").public_key.hex()


def ask(proxy: ProxyProcess, method: str, path: str, *lines: str, body: Any = None) -> Answer:
    content = None if body is None else json.dumps(body).encode()
    host = "localhost" if isinstance(proxy.admin, str) else endpoint_of(proxy.admin)
    with Client(proxy.admin) as client:
        return client.request(method, path, content, lines, host=host)


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


def told(proxy: ProxyProcess, name: str) -> Any:
    answer = ask(proxy, "GET", f"/api/v1/{name}", bearer(READER))
    assert answer.status == 200, answer.body
    assert answer.get("cache-control") == "no-store"
    return json.loads(answer.body)


def test_it_tells_who_is_there_and_what_passes(pair: Pair) -> None:
    for _ in range(3):
        assert pair.fetch("GET", "/api/x").status == 200
    inner, outer = pair.inner, pair.out
    proxy = told(inner, "proxy")
    assert (proxy["name"], proxy["role"], proxy["is_ready"], proxy["not_ready"]) == ("in", "in", True, "")
    assert proxy["config_file"] == str(inner.file)
    assert len(proxy["workers"]) == 2
    assert all(worker["resident_bytes"] > 1e6 for worker in proxy["workers"])
    assert told(outer, "callers")["callers"][0]["proof"] == "key"
    (caller,) = told(inner, "callers")["callers"]
    assert (caller["name"], caller["has_psk"], len(caller["key_ids"])) == ("web", True, 1)
    (service,) = told(inner, "services")["services"]
    assert (service["name"], service["transport"]) == ("api", "plain")
    assert [(one["state"], one["open"] >= 1) for one in service["endpoints"]] == [("ok", True)]
    (service,) = told(outer, "services")["services"]
    assert (service["transport"], service["receiver"]) == ("link", "in")
    assert [(one["address"], one["open"]) for one in service["endpoints"]] == [(endpoint_of(inner.listen), 1)]


def test_it_tells_of_links_and_of_what_has_proven_them(pair: Pair) -> None:
    assert pair.fetch("GET", "/api/x").status == 200
    (made,), (taken,) = (told(proxy, "links")["links"] for proxy in (pair.out, pair.inner))
    assert (made["direction"], taken["direction"]) == ("out", "in")
    assert (made["caller"], made["receiver"], made["peer"]) == ("web", "in", endpoint_of(pair.inner.listen))
    assert made["streams"] == taken["streams"] >= 1
    own, other = told(pair.out, "identities")["identities"]
    assert (own["name"], own["kind"], own["is_own"], own["open"]) == ("web", "caller", True, 1)
    assert (other["name"], other["kind"], other["key_id"]) == ("in", "receiver", made["key_id"])
    own, other = told(pair.inner, "identities")["identities"]
    assert (own["name"], own["key_id"], own["uses"] >= 1) == ("in", made["key_id"], True)
    assert (other["name"], other["key_id"]) == ("web", taken["key_id"])


def test_it_tells_of_traffic_and_limits(pair: Pair) -> None:
    assert pair.fetch("POST", "/api/x", b"what").status == 200
    traffic = told(pair.inner, "traffic")
    row = next(row for row in traffic["rows"] if row["caller"] == "web")
    assert (row["service"], row["route"]) == ("api", "/**")
    good = next(one for one in row["outcomes"] if one["outcome"] == "2xx")
    assert sum(good["buckets"]) == good["count"] >= 1
    assert len(good["buckets"]) == len(traffic["bounds_s"]) + 1
    own = next(own for own in traffic["own"] if own["service"] == "api")
    assert sum(own["buckets"]) == own["count"] >= good["count"]
    assert len(own["buckets"]) == len(traffic["own_bounds_s"]) + 1
    assert 0 < own["duration_s_sum"] < time.time() - told(pair.inner, "proxy")["started_unix_s"]
    assert abs(traffic["at_unix_s"] - time.time()) < 60
    limits = told(pair.inner, "limits")
    (rate,) = limits["rates"]
    assert (rate["caller"], rate["service"], rate["per_s"], rate["burst"]) == ("web", "api", 1000.0, 100)
    assert 0 <= rate["used"] <= 1
    assert {"connections", "in_flight"} <= {one["name"] for one in limits["in_use"]}


def test_the_config_is_told_with_defaults_and_without_secrets(pair: Pair) -> None:
    answer = told(pair.inner, "config")
    config = answer["config"]
    assert (config["limits"]["in_flight"], config["failures"]["kept_per_cause"]) == (10_000, 20)
    assert config["callers"]["web"]["public_keys"] == [key_of_web()]
    assert config["callers"]["web"]["psk"] == "(redacted)"
    everything = json.dumps([told(proxy, "config") for proxy in (pair.out, pair.inner)])
    for secret in (TOKEN, READER, PSK, (pair.folder / "in.key").read_text().strip()):
        assert secret not in everything


@pytest.mark.parametrize("operation", READS + CHANGES, ids=lambda one: one.name)
def test_without_the_right_proof_nothing_is_told(pair: Pair, operation: Any) -> None:
    for lines, status in (
        ((), 401),
        ((bearer("another-token-of-16"),), 401),
        (("Authorization: Bearer",), 401),
        ((bearer(READER), "Host: x"), 400),
        ((bearer(TOKEN), "Origin: http://evil.example"), 403),
        ((bearer(TOKEN), "Sec-Fetch-Site: cross-site"), 403),
    ):
        answer = ask(pair.inner, operation.method, operation.path, *lines)
        assert answer.status == status, (lines, answer.body)
        assert answer.get("content-type") == "application/problem+json"
    with Client(pair.inner.admin) as client:
        answer = client.request(operation.method, operation.path, None, [bearer(TOKEN)], host="evil.example")
        assert answer.status == 403
    if operation.changes:
        assert ask(pair.inner, operation.method, operation.path, bearer(READER)).status == 403


def test_the_log_level_is_that_of_all_workers_until_it_is_changed_again(pair: Pair) -> None:
    owner = bearer(TOKEN)
    quiet = ask(pair.inner, "PUT", "/api/v1/log-level", owner, body={"level": "error"})
    assert (quiet.status, json.loads(quiet.body)) == (200, {"level": "error"})
    unseen = [pair.fetch("GET", f"/api/{number}//").exchange for number in range(3)]
    assert told(pair.inner, "log-level") == {"level": "error"}
    assert ask(pair.inner, "PUT", "/api/v1/log-level", owner, body={"level": "info"}).status == 200
    seen = pair.fetch("GET", "/api/x//").exchange
    pair.inner.log.wait_for(exchange=seen, message="refused")
    assert not [line for exchange in unseen for line in pair.inner.log.find(exchange=exchange)]
    assert ask(pair.inner, "PUT", "/api/v1/log-level", owner, body={"level": "loud"}).status == 400


def test_what_comes_with_a_request_may_come_later_than_its_head(pair: Pair) -> None:
    def begin(client: Client, *lines: str) -> None:
        fields = [bearer(TOKEN), "Expect: 100-continue", *lines]
        head = request_bytes("PUT", "/api/v1/log-level", None, fields, endpoint_of(pair.inner.admin))
        client.send(head)
        assert client.interim().startswith("HTTP/1.1 100 ")  # it waits for what follows

    said = b'{"level":"info"}'
    with Client(pair.inner.admin) as client:
        begin(client, f"Content-Length: {len(said)}")
        client.send(said)
        assert client.answer().status == 200
        begin(client, "Transfer-Encoding: chunked")
        client.send(b"".join(b"1\r\n%c\r\n" % byte for byte in said) + b"0\r\n\r\n")
        assert client.answer().status == 200
    with Client(pair.inner.admin) as client:
        begin(client, "Transfer-Encoding: chunked")
        client.send(b"20000\r\n" + bytes(0x20000))
        assert client.answer().status == 413
    with Client(pair.inner.admin) as client:
        begin(client, "Transfer-Encoding: chunked")
        client.send(b"no chunk\r\n")
        assert client.answer().status == 400
    with Client(pair.inner.admin) as client:
        begin(client, f"Content-Length: {len(said)}")  # and hang up
    assert told(pair.inner, "log-level") == {"level": "info"}


def test_a_proxy_can_be_told_to_drain_and_says_when_it_was_told_before(make: Maker, tmp_path: Path) -> None:
    admin = {"admin": {"address": f"unix:{tmp_path}/out.sock"}}
    pair = make.pair({"api": ["127.0.0.1:1"]}, out=admin | {"drain": {"grace_s": 60, "idle_s": 30}})
    with Client(pair.address) as caller, Client(pair.out.admin) as first, Client(pair.out.admin) as second:
        assert caller.request("GET", "/nobody/").status == 404  # it may call again, so the drain isn't over
        answer = first.request("POST", "/api/v1/drain", b"", host="localhost")
        assert (answer.status, json.loads(answer.body)) == (202, {"is_draining": True, "was_draining": False})
        again = second.request("POST", "/api/v1/drain", b"", host="localhost")
        assert json.loads(again.body)["was_draining"] is True
    assert pair.out.wait() == 0


_SCHEMATHESIS = """
# CONNECT and TRACE nothing here takes: 501, as at any listener.
[phases.coverage]
unexpected-methods = ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT", "QUERY"]
"""


def test_the_api_keeps_to_its_own_document(pair: Pair, tmp_path: Path) -> None:
    """Schemathesis makes requests of the document, and judges what comes."""
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(_SCHEMATHESIS)
    program = shutil.which("schemathesis", path=os.path.dirname(sys.executable))
    assert program is not None
    url = f"http://{endpoint_of(pair.inner.admin)}/api/v1/openapi.json"
    run = subprocess.run(
        [program, "--config-file", str(settings), "run", url, "--header", bearer(TOKEN),
         "--exclude-operation-id", "drain", "--exclude-operation-id", "tap",  # it doesn't end
         "--exclude-operation-id", "reload", "--max-examples", "15", "--checks", "all",
         "--exclude-checks", "ignored_auth", "--no-color"],
        capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
