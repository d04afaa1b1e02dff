"""A config of a hundred thousand entries loads in time and memory that grow with it, and no faster."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from hashlib import sha256
from typing import Any

import pytest

from fastproxy.config.snapshot import InSnapshot
from tests.config.conftest import Folder

CALLERS = 3_000
PEAK_BYTES_PER_CALLER = 1_500
KEPT_BYTES_PER_CALLER = 600


def config(folder: Folder, **more: Any) -> str:
    folder.key("in")
    plain = {
        "role": "in",
        "private_key": {"file": "in.key"},
        "services": {"search": {"endpoints": ["127.0.0.1:80"]}},
        "privileges": [{"callers": ["web*"], "services": ["search"]}],
    }
    return json.dumps(plain | more, indent=1)  # JSON is YAML


def callers(count: int) -> dict[str, Any]:
    keys = (sha256(b"%d" % number).hexdigest()[:-2] + "00" for number in range(count))
    return {f"web{number}": {"public_keys": [key]} for number, key in enumerate(keys)}


def test_memory_grows_by_little_with_each_caller(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastproxy.config.load.FILE_LIMIT_BYTES", 1 << 19)  # so much is read into one buffer
    folder.load(config(folder, callers=callers(10)))  # what is loaded only once
    text = config(folder, callers=callers(CALLERS))
    gc.collect()
    tracemalloc.start()
    try:
        snapshot = folder.load(text)
        kept_bytes, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(snapshot, InSnapshot)
    assert len(snapshot.callers) == len(snapshot.grants[0].callers) == CALLERS
    assert peak_bytes < CALLERS * PEAK_BYTES_PER_CALLER
    assert kept_bytes < CALLERS * KEPT_BYTES_PER_CALLER


def load_s(folder: Folder, services: int, endpoints: int) -> float:
    """Load so many services with so many endpoints each; return the CPU seconds that it took."""
    addresses = [f"10.0.{number >> 8}.{number & 255}:80" for number in range(endpoints)]
    described = {f"s{number}": {"endpoints": addresses} for number in range(services)}
    text = config(folder, callers=callers(1), services=described, privileges=[])
    began_s = time.process_time()
    folder.load(text)
    return time.process_time() - began_s


def test_endpoints_of_one_service_cost_no_more_than_those_of_many(folder: Folder) -> None:
    """To compare each with all before it took fifteen times as long."""
    assert load_s(folder, 10, 1000) < 4 * load_s(folder, 1000, 10)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_works_afterwards_as_it_did_before(enabled: bool, folder: Folder) -> None:
    text = config(folder, callers=callers(1))
    try:
        if not enabled:
            gc.disable()
        folder.load(text)
        assert gc.isenabled() == enabled
        folder.problems(text.replace("public_keys", "publik_keys"))
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_a_mistake_among_many_is_found_at_its_line(folder: Folder) -> None:
    text = config(folder, callers=callers(500)).replace('"web250": {', '"web250": {\n"psk": 1,', 1)
    (problem,) = folder.problems(text)
    assert problem.path == "callers.web250.psk"
    assert problem.line == text[: text.index('"psk"')].count("\n") + 1


def test_a_key_that_two_of_many_have_is_found_at_both_lines(folder: Folder) -> None:
    many = callers(500)
    many["web400"] = many["web100"]
    text = config(folder, callers=many)
    (problem,) = folder.problems(text)
    lines = [
        number for number, line in enumerate(text.splitlines(), 1) if many["web100"]["public_keys"][0] in line
    ]
    assert f"the key of caller web400 is also that of caller web100 (line {lines[0]})" in problem.message
    assert problem.line == lines[1]
