"""What is made of a profile beside pprof's format: a page, a table's rows; and the process that does it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from msgspec.structs import replace

from fastproxy.telemetry.profiling import pprof
from fastproxy.telemetry.profiling.flamegraph import page
from fastproxy.telemetry.profiling.memory import RECORD_LIMIT_BYTES, MemoryRecorder
from fastproxy.telemetry.profiling.merge import merge
from fastproxy.telemetry.profiling.profile import Frame
from fastproxy.telemetry.profiling.render import COMMAND, Order
from fastproxy.telemetry.profiling.top import Row, amount, top
from tests.telemetry.profiling.test_pprof import LIMIT_BYTES, PROFILE


def data_of(text: str) -> Any:
    found = re.search(r"^const profile = (.*);$", text, re.MULTILINE)
    assert found
    return json.loads(found[1])


def test_the_page_has_the_tree_and_loads_nothing() -> None:
    text = page(PROFILE)
    data = data_of(text)
    assert data["types"] == [["samples", "count"], ["cpu", "nanoseconds"]]
    names = [None, *data["names"]]  # the root has -1

    def tree(node: Any) -> Any:
        name, values, children = node
        return names[name + 1], values, [tree(child) for child in children]

    inner: Any = ("a.inner /a.py:5", [3, 30], [])
    outer = ("a.outer /a.py:10", [4, 40], [inner])
    assert tree(data["root"]) == (None, [4, 40], [("(task)", [4, 40], [outer])])
    assert not re.search(r"\bsrc=|\bhref=|@import|url\(|fetch\(|https?:", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text


def test_no_name_gets_out_of_the_script_that_it_stands_in() -> None:
    name = "a.</script><img src=x>"
    text = page(replace(PROFILE, frames=[Frame(name), *PROFILE.frames[1:]]))
    assert text.count("</script>") == 1
    assert name in data_of(text)["names"]


def test_the_functions_with_most_of_their_own_come_first_and_recursion_counts_once() -> None:
    recursive = PROFILE.samples[0]._replace(stack=[0, 1, 1, 2])
    rows = top(replace(PROFILE, samples=[recursive, PROFILE.samples[1]]), 10)
    assert rows == [Row("a.inner", 30, 30), Row("a.outer", 10, 40)]
    assert [amount(value, "nanoseconds") for value in (999, 1500, 2_000_000_000)] == [
        "999",
        "1.50 µs",
        "2.00 s",
    ]
    assert amount(3 * 2**20, "bytes") == "3.00 MiB"


def rendered(order: Order) -> bytes:
    made = subprocess.run(COMMAND, input=msgspec.msgpack.encode(order), capture_output=True, check=True)
    assert not made.stderr
    return made.stdout


SEEN = {"worker 0": PROFILE, "worker 3": replace(PROFILE, frames=PROFILE.frames[::-1])}
ENCODED = {name: Raw(msgspec.msgpack.encode(profile)) for name, profile in SEEN.items()}


def test_another_process_makes_both_formats_of_what_all_workers_saw() -> None:
    merged = merge(SEEN)
    merged.comments.append("worker 1 is missing")
    order = Order("pprof", ENCODED, comments=["worker 1 is missing"])
    assert pprof.read(rendered(order), LIMIT_BYTES) == merged
    order.form = "flamegraph"
    assert data_of(rendered(order).decode()) == data_of(page(merged))


def test_another_process_reads_recordings_of_memory(tmp_path: Path) -> None:
    file = tmp_path / "recording"
    recorder = MemoryRecorder(file, RECORD_LIMIT_BYTES)
    recorder.start()
    kept = [bytearray(1000) for _ in range(10)]
    recorder.stop()
    order = Order("pprof", recordings={f"worker {number}": str(file) for number in (1, 2)}, kind="heap")
    profile = pprof.read(rendered(order), LIMIT_BYTES)
    assert profile.types[profile.shown].what == "inuse_space"
    seen = {}
    for worker in ("worker 1", "worker 2"):
        samples = [sample for sample in profile.samples if sample.worker == worker]
        seen[worker] = sum(sample.values[profile.shown] for sample in samples)
    assert seen["worker 1"] == seen["worker 2"] >= sum(len(block) for block in kept)


def test_what_lies_where_the_proxy_was_started_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gzip.py").write_text("raise SystemExit('planted')")
    monkeypatch.chdir(tmp_path)
    assert pprof.read(rendered(Order("pprof", ENCODED)), LIMIT_BYTES) == merge(SEEN)


def test_a_process_that_fails_says_so_and_why(tmp_path: Path) -> None:
    order = Order("pprof", recordings={"worker 0": str(tmp_path / "missing")}, kind="heap")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        rendered(order)
    assert str(tmp_path / "missing").encode() in caught.value.stderr
