"""Every microbenchmark runs, and what is counted is what was allocated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.micro.catalogue import ALL, named
from tests.micro.counting import Count, count
from tests.micro.played_pair import TRANSPORTS, PlayedPair
from tests.micro.table import Row, table
from tests.micro.work import Benchmark, Work, duration_s, single


@pytest.mark.parametrize("benchmark", ALL, ids=lambda benchmark: benchmark.name)
def test_it_runs(benchmark: Benchmark) -> None:
    work = benchmark.prepare()
    try:
        assert duration_s(work, 1) > 0
    finally:
        work.close()


def test_each_has_a_name_of_its_own() -> None:
    assert len({benchmark.name for benchmark in ALL}) == len(ALL)


def test_they_are_chosen_by_what_their_names_begin_with() -> None:
    chosen = named(["request/link/out", "parse/config"])
    assert {benchmark.name.split("/")[0] for benchmark in chosen} == {"request", "parse"}
    assert named([]) == list(ALL)
    with pytest.raises(ValueError, match="they are of alike, open, parse, request, seal, serialise, unlike"):
        named(["request", "reqest"])


# --- the played pair --------------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [1, 25])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_played_pair_answers_every_caller(transport: str, calls: int) -> None:
    pair = PlayedPair(transport, calls)
    try:
        answers = pair.call()
        assert len(answers) == calls
        for answer in answers:
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b'{"code":0,"message":"okay"}')
    finally:
        pair.close()


# --- counting ---------------------------------------------------------------------------------------------


class Thing:
    """Something of one block."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


def nothing() -> None:
    """Allocate nothing."""


def two_things() -> None:
    """Allocate two blocks; neither outlives the call."""
    Thing("a")
    Thing("b")


def much() -> None:
    """Allocate 3,000 bytes in two blocks, never both at a time."""
    bytes(1_000)
    bytes(2_000)


def calls() -> None:
    """Call, which allocates only because it is traced."""
    nothing()
    nothing()


def test_what_is_allocated_is_counted_however_short_it_lives() -> None:
    assert round(count(single(nothing)).blocks) == 0
    assert round(count(single(calls)).blocks) == 0
    assert round(count(single(two_things)).blocks) == 2
    found = count(single(much))
    assert round(found.blocks) == 2
    assert 3_000 <= found.size_bytes < 3_300


def test_only_the_steps_that_count_are_counted_for_each_operation() -> None:
    found = count(Work([(much, False), (two_things, True), (much, False)], operations=2))
    assert round(found.blocks) == 1
    assert found.bytecodes == count(single(two_things)).bytecodes / 2


# --- what is written --------------------------------------------------------------------------------------


def test_a_table_has_a_line_for_each_with_units_that_suit() -> None:
    counted = Count(1234.4, 5.06, 789)
    lines = table([Row("a/b", 4.5e-6, 4.5e-7, counted), Row("c", 0.25, 0.0, counted)]).splitlines()
    assert lines[2:] == [
        "| a/b | 4.5 µs | 10 % | 1,234 | 5.1 | 789 |",
        "| c | 250 ms | 0 % | 1,234 | 5.1 | 789 |",
    ]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, object]]:
    """What the program prints and writes for one benchmark, as fast as can be."""
    file: Path = tmp_path_factory.mktemp("micro") / "micro.json"
    command = [sys.executable, "-m", "tests.micro", "parse/response", "-o", str(file), "--debug-single-value"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout, json.loads(file.read_text())


def test_the_program_writes_a_table_and_json(measured: tuple[str, dict[str, object]]) -> None:
    printed, written = measured
    (row,) = [line for line in printed.splitlines() if line.startswith("| parse/")]
    assert row.startswith("| parse/response head/4 fields | ")
    assert isinstance(written["benchmarks"], list)
    assert len(written["benchmarks"]) == 1
    names = json.dumps(written)
    for name in ("parse/response head/4 fields", "bytecodes", "blocks", "size_bytes"):
        assert f'"{name}"' in names
