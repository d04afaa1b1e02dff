"""The ready file: whole or not there, and never another proxy's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from fastproxy.net.listener import StartError
from fastproxy.supervisor.ready_file import ReadyFile, Standing, own_identity, read, started_ticks

STANDING = Standing("ready", *own_identity(), "in", "in", "127.0.0.1:8033", "")


def test_it_says_which_process_and_addresses(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    file = ReadyFile(path)
    file.prepare()
    assert list(tmp_path.iterdir()) == []
    before = os.umask(0o077)
    try:
        file.write(STANDING)
    finally:
        os.umask(before)
    assert read(path) == STANDING
    assert STANDING.pid == os.getpid()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    file.write(replace(STANDING, state="draining"))
    assert read(path).state == "draining"
    file.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_proxy_has_left_goes_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    path.write_text("old")
    ReadyFile(path).prepare()
    assert not path.exists()


def test_it_is_not_written_through_what_somebody_has_put_beside(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("whole")
    (tmp_path / f".ready.{os.getpid()}").symlink_to(victim)
    file = ReadyFile(tmp_path / "ready")
    file.prepare()
    file.write(STANDING)
    assert victim.read_text() == "whole"


def test_that_of_a_successor_stays(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    file = ReadyFile(path)
    file.write(STANDING)
    successor = ReadyFile(path)
    successor.write(replace(STANDING, pid=STANDING.pid + 1))
    file.remove()
    assert read(path).pid == STANDING.pid + 1


def test_a_place_that_cant_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "ready", tmp_path):
        with pytest.raises(StartError, match=str(path)):
            ReadyFile(path).prepare()


def test_what_is_no_ready_file_is_not_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    for content in ("", "{}", "[1]", '{"state": "dancing"}', "x" * 10_000):
        path.write_text(content)
        with pytest.raises(ValueError, match="--ready-file"):
            read(path)


def test_a_process_is_known_by_when_it_began() -> None:
    assert started_ticks(os.getpid()) == STANDING.started_ticks > 0
    assert started_ticks(2**30) == 0
