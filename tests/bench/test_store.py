"""The file of a run: written in one step, read back as it was, gone on with where that means something."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fastproxy.bench.record import Record
from fastproxy.bench.scenario import Load
from fastproxy.bench.store import FILE_NAME, StoreError, load, save, save_for_programs, take_up
from tests.bench import records


def a_record() -> Record:
    return records.record(records.peak(), records.sweep())


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / FILE_NAME
    save(a_record(), tmp_path)
    assert load(file) == a_record()
    save_for_programs(a_record(), file)
    assert load(file) == a_record()
    assert list(tmp_path.iterdir()) == [file]
    written = json.loads((tmp_path / FILE_NAME).read_text())
    assert written["scenarios"][0]["summary"]["none"][""]["requests_per_s"]["median"] == 4200


def test_a_write_that_fails_leaves_the_former_record(tmp_path: Path) -> None:
    save(a_record(), tmp_path)
    (tmp_path / f"{FILE_NAME}.partial").mkdir()  # the new one can't be written
    with pytest.raises(OSError, match="partial"):
        save(records.record(), tmp_path)
    assert load(tmp_path / FILE_NAME) == a_record()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "isn't the record of a run"),
        (b"[1]", "isn't the record of a run"),
        (b'{"facts": 1}', "isn't the record of a run"),
        (None, "can't be read"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / FILE_NAME
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StoreError, match=says):
        load(file)


def test_a_record_of_another_format_is_refused(tmp_path: Path) -> None:
    save(replace(a_record(), format=99), tmp_path)
    with pytest.raises(StoreError, match="format 99"):
        load(tmp_path / FILE_NAME)


def test_an_interrupted_run_goes_on_with_what_it_has() -> None:
    found, asked = a_record(), a_record()
    found.state = "interrupted"
    found.scenarios[0].broken_off = "its time was over"
    found.scenarios[0].chains[0].failure = "a process ended at its start"
    asked.facts = replace(asked.facts, started="2025-02-01T00:00:00+00:00", command="the same --resume")
    for scenario in asked.scenarios:
        scenario.turns = []
    resumed = take_up(found, asked)
    assert resumed.state == "running"
    assert len(resumed.scenarios[0].turns) == 9
    assert resumed.scenarios[0].broken_off is None
    assert resumed.scenarios[0].chains[0].failure is None
    assert resumed.facts.started == records.FACTS.started


def test_another_plan_machine_or_version_is_refused() -> None:
    asked = a_record()
    asked.scenarios[0].rounds = 5
    asked.scenarios[0].load = Load(64, 5)
    versions = {"python": "3.11.2", "fastproxy": "0.2.0", "nginx": "1.22.1", "wrk": "4.1.0"}
    asked.facts = replace(records.FACTS, cpu="Another processor", versions=versions)
    asked.scenarios.pop()
    with pytest.raises(StoreError) as refused:
        take_up(a_record(), asked)
    said = str(refused.value)
    for words in (
        "cpu: A processor then, Another processor now",
        "versions fastproxy: 0.1.0 then, 0.2.0 now",
        "versions wrk: none then, 4.1.0 now",
        "peak rounds: 3 then, 5 now",
        "peak load connections: 128 then, 64 now",
        "latency",
        "It was begun with: fastproxy bench --rounds 3",
    ):
        assert words in said
