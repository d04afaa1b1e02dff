"""Memory: a known growth is in use, what was freed is not, and both were allocated."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastproxy.telemetry.profiling.memory import MemoryRecorder, RecordingError, read_recording
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
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryRecorder:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    recorder = MemoryRecorder()
    recorder.start()
    store = Store()
    store.grow()
    churn()
    recorder.stop()
    assert len(store.blocks) == BLOCKS
    return recorder


def test_a_growth_is_found_where_it_happened(recording: MemoryRecorder) -> None:
    profile = read_recording(recording.file, "heap")
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


def test_heap_and_allocs_differ_in_what_they_show_first(recording: MemoryRecorder) -> None:
    heap, allocs = (read_recording(recording.file, kind) for kind in ("heap", "allocs"))
    assert heap.types[heap.shown].what == "inuse_space"
    assert allocs.types[allocs.shown].what == "alloc_space"
    assert len(heap.samples) == len(allocs.samples)


def test_only_its_user_can_read_a_recording_and_it_can_be_removed(recording: MemoryRecorder) -> None:
    folder = recording.file.parent
    assert folder.stat().st_mode & 0o777 == 0o700
    recording.remove()
    assert not folder.exists()


def test_without_memray_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "memray", None)
    with pytest.raises(RecordingError, match=r"pip install 'fastproxy-link\[profile\]'"):
        MemoryRecorder()


def test_without_a_folder_for_the_file_it_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(RecordingError, match="TMPDIR"):
        MemoryRecorder()


def test_a_file_that_can_not_be_made_or_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    recorder = MemoryRecorder()
    monkeypatch.setattr(recorder, "_tracker", _FullTracker())
    with pytest.raises(RecordingError, match="TMPDIR"):
        recorder.start()
    monkeypatch.setattr("memray.FileDestination", _no_file)
    with pytest.raises(RecordingError, match="TMPDIR"):
        MemoryRecorder()
    assert not list(tmp_path.iterdir())


class _FullTracker:
    """Does what memray's does where the disk is full."""

    def __enter__(self) -> None:
        raise RuntimeError("Failed to write output header: No space left on device")


def _no_file(*_: object, **__: object) -> None:
    raise OSError("Could not create output file")
