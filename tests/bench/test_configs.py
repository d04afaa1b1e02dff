"""The peers' own parsers are the judges: each config is shown to the program that it is for."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fastproxy.bench import configs, own_configs, peers
from fastproxy.bench.configs import HttpVersion, Leg
from fastproxy.bench.credentials import PLACES, Credentials, Place, issue


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return issue(tmp_path_factory.mktemp("credentials"))


def leg_at(place: Place, folder: Path, credentials: Credentials) -> Leg:
    return Leg(place, port=18034, next_port=18033, admin_port=19034, folder=folder, credentials=credentials)


def assert_accepted(command: list[str]) -> None:
    checked = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "warn" not in (checked.stdout + checked.stderr).lower()


@pytest.mark.parametrize("place", PLACES)
def test_haproxy_accepts_the_tcp_relay(place: Place, tmp_path: Path, credentials: Credentials) -> None:
    config = configs.haproxy_tcp(leg_at(place, tmp_path, credentials))
    assert_accepted([*peers.haproxy_command(config, tmp_path), "-c"])


@pytest.mark.parametrize("version", ["http/1.1", "h2"])
@pytest.mark.parametrize("place", PLACES)
def test_haproxy_accepts_mutual_tls(
    place: Place, version: HttpVersion, tmp_path: Path, credentials: Credentials
) -> None:
    config = configs.haproxy_tls(leg_at(place, tmp_path, credentials), version)
    assert_accepted([*peers.haproxy_command(config, tmp_path), "-c"])


@pytest.mark.parametrize("place", PLACES)
def test_nginx_accepts_mutual_tls(place: Place, tmp_path: Path, credentials: Credentials) -> None:
    config = configs.nginx_tls(leg_at(place, tmp_path, credentials))
    assert_accepted([*peers.nginx_command(config, tmp_path), "-t"])


def test_nginx_accepts_the_service(tmp_path: Path) -> None:
    assert_accepted([*peers.service_command(18102, tmp_path), "-t"])


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES)
def test_envoy_accepts_http2_over_mutual_tls(place: Place, tmp_path: Path, credentials: Credentials) -> None:
    config = configs.envoy_h2(leg_at(place, tmp_path, credentials))
    assert_accepted([*peers.envoy_command(config, tmp_path), "--mode", "validate"])


def test_the_answer_has_the_size_of_the_record() -> None:
    assert len(configs.ANSWER) == 51


@pytest.mark.parametrize(
    ("make", "transport"), [(own_configs.fastproxy_link, "link"), (own_configs.fastproxy_http, "http")]
)
def test_our_pair_names_each_other(
    make: Callable[[Leg], str], transport: str, tmp_path: Path, credentials: Credentials
) -> None:
    out_config = yaml.safe_load(make(leg_at("out", tmp_path, credentials)))
    in_config = yaml.safe_load(make(leg_at("in", tmp_path, credentials)))
    service = out_config["services"][configs.SERVICE]
    assert service["transport"] == transport
    assert in_config["listen"]["accept"] == [transport]
    assert service["receiver"] == {"name": in_config["name"], "public_keys": [credentials.public_keys["in"]]}
    assert in_config["callers"] == {out_config["caller"]: {"public_keys": [credentials.public_keys["out"]]}}
    (privilege,) = in_config["privileges"]
    assert privilege["rate"]["per_s"] > 0
    assert f"/{configs.SERVICE}{privilege['paths'][0]}" == configs.CALLER_PATH


def test_our_pair_over_compat_does_all_that_the_record_did(tmp_path: Path, credentials: Credentials) -> None:
    out_config = yaml.safe_load(own_configs.fastproxy_compat(leg_at("out", tmp_path, credentials)))
    in_config = yaml.safe_load(own_configs.fastproxy_compat(leg_at("in", tmp_path, credentials)))
    assert out_config["services"][configs.SERVICE]["transport"] in in_config["listen"]["accept"]
    sender = out_config["compat"]["callers"][own_configs.CALLER]
    demand = in_config["compat"]["callers"][own_configs.CALLER]
    assert demand == {"sign": [sender["sign"]], "encrypt": [sender["encrypt"]]}
    assert sender["compress"] == "snappy"
    for keys in ("sign_keys", "encrypt_keys"):
        assert out_config["compat"][keys] == in_config["compat"][keys]


@pytest.mark.parametrize(
    "make", [own_configs.fastproxy_link, own_configs.fastproxy_http, own_configs.fastproxy_compat]
)
@pytest.mark.parametrize("place", PLACES)
def test_our_own_check_accepts_our_configs(
    make: Callable[[Leg], str], place: Place, tmp_path: Path, credentials: Credentials
) -> None:
    (tmp_path / "fastproxy.yaml").write_text(make(leg_at(place, tmp_path, credentials)))
    command = [sys.executable, "-m", "fastproxy", "check", str(tmp_path / "fastproxy.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_large_config_holds_what_is_said(tmp_path: Path, credentials: Credentials) -> None:
    size = configs.ConfigSize(callers=30, routes=1050, endpoints=2500)
    leg = replace(leg_at("in", tmp_path, credentials), size=size)
    in_config = yaml.safe_load(own_configs.fastproxy_link(leg))
    assert len(in_config["callers"]) == 30
    keys = [key for caller in in_config["callers"].values() for key in caller["public_keys"]]
    assert len(set(keys)) == 30
    own = [privilege for privilege in in_config["privileges"] if privilege["callers"] == [own_configs.CALLER]]
    paths = [path for privilege in own for path in privilege["paths"]]
    assert len(paths) - len(own[0]["paths"]) == 1050 - 1
    assert len(set(paths)) == len(paths)
    endpoints = [one for service in in_config["services"].values() for one in service["endpoints"]]
    assert len(set(endpoints)) == 2500
    sockets = own_configs.endpoint_sockets(leg)
    assert in_config["services"][configs.SERVICE]["endpoints"] == [f"unix:{socket}" for socket in sockets]


def test_private_keys_are_for_their_owner_only(credentials: Credentials) -> None:
    for path in [*credentials.private_keys.values(), *credentials.certificates.values()]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for path in credentials.private_keys.values():
        assert len(bytes.fromhex(path.read_text())) == 32
