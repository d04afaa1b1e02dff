"""Every module imports alone, and what runs a proxy imports no more than it needs."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fastproxy
from tests.net.chain import configs

MODULES = [module.name for module in pkgutil.walk_packages(fastproxy.__path__, "fastproxy.")]

BATCH = """
import importlib, json, os, sys
# What most modules import of others, and what takes most of the time: once, before there are children.
import asyncio, ssl, click, jsonschema, prometheus_client, rich.console, rich.progress, uvloop
import cryptography.x509, cryptography.hazmat.primitives.serialization, google.protobuf.message
failed = {}
for name in sys.argv[1:]:
    child = os.fork()  # each in a process of its own, without starting an interpreter for each
    if not child:
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(name, repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed[name] = "does not import alone"
print(json.dumps(failed))
"""

BUILD = """
import asyncio, json, sys
import fastproxy.app.worker, fastproxy.cli.run
from fastproxy.app.running import Proxy
from fastproxy.config.load import load
from fastproxy.policy.pattern import parse_pattern
loop = asyncio.new_event_loop()
for file in sys.argv[1:]:
    Proxy(load(file, check_pattern=parse_pattern), loop)
loop.close()
print(json.dumps(sorted(sys.modules)))
"""

NOT_FOR_WORKERS = (
    "rich",
    "jsonschema",
    "prometheus_client",
    "google.protobuf",
    "opentelemetry",
    "fastproxy.bench",
    "fastproxy.demo",
    "fastproxy.app.profiling",
    "fastproxy.telemetry.profiling",
)
"""Imports are most of a worker's memory; these serve people who look, or options that are off."""


def run(script: str, *arguments: str) -> object:
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.mark.timeout(300)
def test_every_module_imports_alone_without_a_warning() -> None:
    assert len(MODULES) > 50
    with ThreadPoolExecutor(2) as threads:
        failures = list(threads.map(lambda batch: run(BATCH, *batch), (MODULES[::2], MODULES[1::2])))
    assert failures == [{}, {}]


def test_running_a_proxy_imports_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    loaded = run(BUILD, *map(str, configs(tmp_path)))
    assert isinstance(loaded, list)
    assert "fastproxy.net.server" in loaded
    assert [name for name in loaded if name.startswith(NOT_FOR_WORKERS)] == []
