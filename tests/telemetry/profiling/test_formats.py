"""What is made of a profile beside pprof's format: a page, a table's rows; and the process that does it."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import uvloop
from msgspec.structs import replace

from fastproxy.telemetry.profiling import pprof
from fastproxy.telemetry.profiling.flamegraph import page
from fastproxy.telemetry.profiling.profile import Frame, Profile
from fastproxy.telemetry.profiling.render import RenderError, render, render_recording
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


def run_render(profile: Profile, form: str) -> bytes:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(render(profile, form))


def test_another_process_makes_both_formats() -> None:
    assert pprof.read(run_render(PROFILE, "pprof"), LIMIT_BYTES) == PROFILE
    assert data_of(run_render(PROFILE, "flamegraph").decode()) == data_of(page(PROFILE))


def test_what_lies_where_the_proxy_was_started_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gzip.py").write_text("raise SystemExit('planted')")
    monkeypatch.chdir(tmp_path)
    assert pprof.read(run_render(PROFILE, "pprof"), LIMIT_BYTES) == PROFILE


def test_a_process_that_fails_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(RenderError), asyncio.Runner() as runner:
        runner.run(render_recording(tmp_path / "missing", "heap", "pprof"))


def test_a_wait_that_is_given_up_leaves_no_process(tmp_path: Path) -> None:
    fifo = tmp_path / "recording"  # whoever reads it waits for ever
    os.mkfifo(fifo)

    async def main() -> None:
        task = asyncio.create_task(render_recording(fifo, "heap", "pprof"))
        writer = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)  # returns once it reads
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(BrokenPipeError):  # nobody reads any more
            os.write(writer, b"\0")
        os.close(writer)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
