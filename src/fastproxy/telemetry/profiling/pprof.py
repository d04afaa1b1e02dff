"""pprof's format: what `go tool pprof`, Speedscope and Pyroscope read. A gzipped protobuf message."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

from google.protobuf.message import DecodeError

from fastproxy.telemetry.profiling.profile import Frame, Profile, Sample, ValueType
from fastproxy.telemetry.profiling.profile_proto import ProfileMessage

_LEVEL = 6
_WORKER = "worker"
"""Key of the label that says in which process a sample was seen."""


class PprofError(Exception):
    """What was read is no profile."""


def write(profile: Profile) -> bytes:
    """Return a profile in pprof's format."""
    message = ProfileMessage()
    strings: dict[str, int] = {"": 0}

    def index(text: str) -> int:
        return strings.setdefault(text, len(strings))

    for what, unit in profile.types:
        message.sample_type.add(type=index(what), unit=index(unit))
    # Says that names are here, and need not be looked for in a binary.
    message.mapping.add(
        id=1, filename=index("fastproxy"), has_functions=True, has_filenames=True, has_line_numbers=True
    )
    functions: dict[tuple[str, str, int], int] = {}
    for number, frame in enumerate(profile.frames, 1):
        key = (frame.function, frame.file, frame.first_line)
        function_id = functions.get(key)
        if function_id is None:
            function_id = functions[key] = len(functions) + 1
            name = index(frame.function)
            message.function.add(
                id=function_id,
                name=name,
                system_name=name,
                filename=index(frame.file),
                start_line=frame.first_line,
            )
        location = message.location.add(id=number, mapping_id=1)
        location.line.add(function_id=function_id, line=frame.line)
    for sample in profile.samples:
        written = message.sample.add(location_id=[place + 1 for place in sample.stack], value=sample.values)
        if sample.worker:
            written.label.add(key=index(_WORKER), str=index(sample.worker))
    message.time_nanos = profile.started_unix_ns
    message.duration_nanos = profile.duration_ns
    message.period_type.type = index(profile.period_type.what)
    message.period_type.unit = index(profile.period_type.unit)
    message.period = profile.period
    message.comment.extend(index(comment) for comment in profile.comments)
    message.default_sample_type = index(profile.types[profile.shown].what)
    message.string_table.extend(strings)
    return gzip.compress(message.SerializeToString(), _LEVEL, mtime=0)


def read(data: bytes, limit_bytes: int) -> Profile:
    """Read what `write` wrote.

    Args:
        limit_bytes: refuse what unpacks to more.

    Raises:
        PprofError: it is something else.
    """
    unpacker = zlib.decompressobj(wbits=31)  # gzip
    try:
        unpacked = unpacker.decompress(data, limit_bytes)
        if not unpacker.eof:
            raise PprofError("the profile is cut off, or too large")
        return _read(ProfileMessage.FromString(unpacked))
    except (zlib.error, DecodeError, LookupError, ValueError) as error:
        raise PprofError("this is not a profile") from error


def _read(message: Any) -> Profile:
    strings = message.string_table
    functions = {function.id: function for function in message.function}
    places: dict[int, int] = {}
    frames: list[Frame] = []
    for location in message.location:
        line = location.line[0]
        function = functions[line.function_id]
        places[location.id] = len(frames)
        name, file = strings[function.name], strings[function.filename]
        frames.append(Frame(name, file, line.line, function.start_line))
    types = [ValueType(strings[kind.type], strings[kind.unit]) for kind in message.sample_type]
    shown = [kind.what for kind in types].index(strings[message.default_sample_type])
    samples = [
        Sample(
            [places[location_id] for location_id in sample.location_id],
            list(sample.value),
            next((strings[label.str] for label in sample.label if strings[label.key] == _WORKER), ""),
        )
        for sample in message.sample
    ]
    if any(len(sample.values) != len(types) for sample in samples):
        raise PprofError("a sample has other values than the profile says")
    return Profile(
        types=types,
        shown=shown,
        period_type=ValueType(strings[message.period_type.type], strings[message.period_type.unit]),
        period=message.period,
        started_unix_ns=message.time_nanos,
        duration_ns=message.duration_nanos,
        frames=frames,
        samples=samples,
        comments=[strings[comment] for comment in message.comment],
    )
