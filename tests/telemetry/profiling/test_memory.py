"""Memory: a known growth is in use, what was freed is not, and both were allocated."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fastproxy.telemetry.profiling.memory import (
    RECORD_LIMIT_BYTES,
    MemoryRecorder,
    RecordingError,
    folder_for_recordings,
    read_recording,
)
from tests.telemetry.profiling.seen import values_of

BLOCKS, BLOCK_BYTES = 200, 10_000


class Store:
    def __init__(self) -> None:
        self.blocks: list[bytearray] = []

    def grow(self) -> None:
        for _ in range(BLOCKS):
            self.blocks.append(bytearray(BLOCK_BYTES))


def churn() -> None:
    for _ in range(BLOCKS):
        bytearray(BLOCK_BYTES)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    file = tmp_path / "recording"
    recorder = MemoryRecorder(file, RECORD_LIMIT_BYTES)
    recorder.start()
    store = Store()
    store.grow()
    churn()
    recorder.stop()
    assert len(store.blocks) == BLOCKS
    return file


def test_a_growth_is_found_where_it_happened(recording: Path) -> None:
    profile = read_recording(recording, "heap")
    assert [kind.what for kind in profile.types] == [
        "alloc_objects",
        "alloc_space",
        "inuse_objects",
        "inuse_space",
    ]
    assert [kind.unit for kind in profile.types] == ["count", "bytes", "count", "bytes"]
    least = BLOCKS * BLOCK_BYTES
    objects, space, in_use_objects, in_use_space = values_of(profile, "Store.grow")
    assert min(objects, in_use_objects) >= BLOCKS
    assert min(space, in_use_space) >= least
    objects, space, _, in_use_space = values_of(profile, "test_memory.churn")
    assert objects >= BLOCKS
    assert space >= least
    assert in_use_space < least / 10
    (frame,) = {(f.function, f.file, f.first_line) for f in profile.frames if f.function.endswith(".grow")}
    assert frame == (f"{__name__}.Store.grow", __file__, Store.grow.__code__.co_firstlineno)


def test_heap_and_allocs_differ_in_what_they_show_first(recording: Path) -> None:
    heap, allocs = (read_recording(recording, kind) for kind in ("heap", "allocs"))
    assert heap.types[heap.shown].what == "inuse_space"
    assert allocs.types[allocs.shown].what == "alloc_space"
    assert len(heap.samples) == len(allocs.samples)


def test_a_recording_is_full_at_its_limit_and_when_its_folder_is_gone(tmp_path: Path) -> None:
    file = tmp_path / "recording"
    recorder = MemoryRecorder(file, 2**16)
    recorder.start()
    try:
        assert not recorder.is_full
        store = Store()
        while not recorder.is_full:
            store.grow()
        assert file.stat().st_size >= 2**16
        file.unlink()
        assert recorder.is_full
    finally:
        recorder.stop()


def test_only_its_user_can_reach_the_folder_and_it_goes_with_all_that_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with folder_for_recordings() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "left").touch()  # by a worker that was killed
    assert not list(tmp_path.iterdir())


def test_a_recording_that_begins_while_its_folder_goes_finds_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    remove = shutil.rmtree

    def begin_late(path: Path, ignore_errors: bool) -> None:
        with pytest.raises(FileNotFoundError):
            (folder / "1").touch()
        remove(path, ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", begin_late)
    with folder_for_recordings() as folder:
        pass
    assert not list(tmp_path.iterdir())


def test_without_memray_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "memray", None)
    with pytest.raises(RecordingError, match=r"pip install 'fastproxy-link\[profile\]'"):
        MemoryRecorder(tmp_path / "recording", RECORD_LIMIT_BYTES)


def test_without_a_folder_for_the_file_it_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(RecordingError, match="TMPDIR"), folder_for_recordings():
        pass
    with pytest.raises(RecordingError, match="TMPDIR"):
        MemoryRecorder(tmp_path / "none" / "recording", RECORD_LIMIT_BYTES)


def test_a_file_that_can_not_be_written_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = MemoryRecorder(tmp_path / "recording", RECORD_LIMIT_BYTES)
    monkeypatch.setattr(recorder, "_tracker", _FullTracker())
    with pytest.raises(RecordingError, match="TMPDIR"):
        recorder.start()


class _FullTracker:
    """Does what memray's does where the disk is full."""

    def __enter__(self) -> None:
        raise RuntimeError("Failed to write output header: No space left on device")
