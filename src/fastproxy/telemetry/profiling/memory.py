"""Memory by stack: what was allocated while it was recorded, and what of that is still in use.

memray records every allocation, those of C extensions included, to a file; that can make a proxy several
times slower for as long as it lasts, so it is only on while somebody asks. `tracemalloc`, the standard
library's way, knows what is in use but not what was allocated and freed again, and nothing of what C code
allocates by itself.
The file is read where it doesn't hurt: in the process that `render` is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from types import CodeType
from typing import TYPE_CHECKING

from fastproxy.telemetry.profiling.profile import Frame, Profile, Sample, ValueType

if TYPE_CHECKING:
    import memray

RECORD_LIMIT_BYTES = 16 * 2**20
"""Of all recordings of one profile. Protects the disk, and whoever waits: some two million allocations and
their ends, which take ten seconds to read."""

_TYPES = [
    ValueType("alloc_objects", "count"),
    ValueType("alloc_space", "bytes"),
    ValueType("inuse_objects", "count"),
    ValueType("inuse_space", "bytes"),
]
_SHOWN = {"allocs": 1, "heap": 3}
_DEPTH = 128


class RecordingError(Exception):
    """Memory can't be recorded here; the message says why and what to do."""


@contextmanager
def folder_for_recordings() -> Iterator[Path]:
    """Make a folder that only this user can reach, and remove it with all that is in it.

    Raises:
        RecordingError: there is no place for it.
    """
    try:
        folder = Path(mkdtemp(prefix=f"fastproxy-memory-{os.getpid()}-"))
    except OSError as error:
        raise _no_room(error) from error
    try:
        yield folder
    finally:
        # A worker may only now come to begin its file: under the other name it finds no folder for it, where
        # one that appears while the folder is emptied would keep it.
        with suppress(OSError):
            folder = folder.rename(f"{folder}.gone")
        shutil.rmtree(folder, ignore_errors=True)


class MemoryRecorder:
    """Records allocations to a file, which is whoever's that has made its folder.

    Args:
        file: what to write to; it isn't there yet. limit_bytes: how large it may grow.

    Raises:
        RecordingError: memray is not installed, or there is no place for the file.
    """

    __slots__ = ("_file", "_limit_bytes", "_tracker")

    def __init__(self, file: Path, limit_bytes: int) -> None:
        try:
            import memray  # noqa: PLC0415 - 14 MiB, for those who ask
        except ImportError as error:
            raise RecordingError(
                "memory profiles need memray: pip install 'fastproxy-link[profile]', then restart the proxy"
            ) from error
        self._file = file
        self._limit_bytes = limit_bytes
        try:
            self._tracker: memray.Tracker = memray.Tracker(
                destination=memray.FileDestination(file, compress_on_exit=False),
                trace_python_allocators=True,
            )
        except OSError as error:
            raise _no_room(error) from error

    def start(self) -> None:
        """Begin.

        Raises:
            RecordingError: nothing can be written.
        """
        try:
            self._tracker.__enter__()
        except RuntimeError as error:  # how memray tells it
            raise _no_room(error) from error

    @property
    def is_full(self) -> bool:
        """Whether no more should be recorded."""
        try:
            return os.path.getsize(self._file) >= self._limit_bytes
        except FileNotFoundError:  # whoever asked is gone, and its folder as well
            return True

    def stop(self) -> None:
        """End."""
        self._tracker.__exit__(None, None, None)


def _no_room(error: Exception) -> RecordingError:
    return RecordingError(
        f"a recording of memory needs a folder for temporary files with {RECORD_LIMIT_BYTES // 2**20} MiB of "
        f"room: set TMPDIR to one, then restart the proxy ({error})"
    )


def read_recording(file: Path, kind: str) -> Profile:
    """Sum up what was recorded.

    Args:
        file: of a `MemoryRecorder` that has stopped.
        kind: heap or allocs, which differ in what is shown first.
    """
    import memray  # noqa: PLC0415 - as above

    frees = {memray.AllocatorType.FREE, memray.AllocatorType.PYMALLOC_FREE, memray.AllocatorType.MUNMAP}
    no_allocation = {int(allocator) for allocator in frees}
    values: dict[int, list[int]] = {}
    stacks: dict[int, list[tuple[str, str, int]]] = {}
    with memray.FileReader(file) as reader:
        for record in reader.get_allocation_records():  # each by itself: millions
            if record.allocator in no_allocation:
                continue
            stack_id = record.stack_id
            counted = values.get(stack_id)
            if counted is None:
                counted = values[stack_id] = [0, 0, 0, 0]
                stacks[stack_id] = record.stack_trace(max_stacks=_DEPTH)
            counted[0] += 1
            counted[1] += record.size
        for record in reader.get_leaked_allocation_records(merge_threads=True):  # each for many
            counted = values[record.stack_id]
            counted[2] += record.n_allocations
            counted[3] += record.size
        metadata = reader.metadata
    frames: dict[Frame, int] = {}
    names = _Names()
    samples = []
    for stack_id, stack in stacks.items():
        named = [names.frame(*entry) for entry in stack] or [Frame("(no Python code)")]
        places = [frames.setdefault(frame, len(frames)) for frame in named]
        samples.append(Sample(places, values[stack_id]))
    duration_s = (metadata.end_time - metadata.start_time).total_seconds()
    return Profile(
        types=_TYPES,
        shown=_SHOWN[kind],
        period_type=ValueType("space", "bytes"),
        period=1,
        started_unix_ns=int(metadata.start_time.timestamp() * 1e9),
        duration_ns=int(duration_s * 1e9),
        frames=list(frames),
        samples=samples,
        comments=[f"allocated in {duration_s:.1f} s; in use: what of that was not freed by the end"],
    )


class _Names:
    """Finds qualified names: a recording has none, and the modules that it speaks of aren't loaded here."""

    def __init__(self) -> None:
        self._codes: dict[str, dict[str, list[tuple[int, int, str]]]] = {}

    def frame(self, function: str, file: str, line: int) -> Frame:
        if file not in self._codes:
            by_name: dict[str, list[tuple[int, int, str]]] = {}
            self._codes[file] = by_name
            for code in _codes_of(file):
                lines = [number for _, _, number in code.co_lines() if number]
                span = (code.co_firstlineno, max(lines, default=code.co_firstlineno), code.co_qualname)
                by_name.setdefault(code.co_name, []).append(span)
        around = [span for span in self._codes[file].get(function, ()) if span[0] <= line <= span[1]]
        first_line, _, name = max(around, default=(0, 0, function))
        return Frame(f"{_module(file)}.{name}", file, line, first_line)


def _codes_of(file: str) -> Iterator[CodeType]:
    try:
        waiting = [compile(Path(file).read_bytes(), file, "exec", dont_inherit=True)]
    except (OSError, SyntaxError, ValueError):  # frozen, generated, or gone
        return
    while waiting:
        code = waiting.pop()
        yield code
        waiting.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))


def _module(file: str) -> str:
    """Return the dotted name of a module, as far as packages go."""
    path = Path(file)
    parts = [] if path.stem == "__init__" else [path.stem]
    for folder in path.parents:
        if not (folder / "__init__.py").exists():
            break
        parts.append(folder.name)
    return ".".join(reversed(parts))
