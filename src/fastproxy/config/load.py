"""From a config file to a snapshot, or to all that is wrong with it at once.

Read → parse → check the structure → resolve what the fields mean together. Each step goes on past
mistakes as far as it can; only then is it decided whether the file can be used.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fastproxy.config.document import FILE_LIMIT_BYTES, parse_document
from fastproxy.config.problem import ConfigError, Problem
from fastproxy.config.resolve import Resolver
from fastproxy.config.resolve_in import PatternCheck, resolve_in
from fastproxy.config.resolve_out import resolve_out
from fastproxy.config.schema import OutConfig
from fastproxy.config.snapshot import InSnapshot, OutSnapshot, Snapshot
from fastproxy.config.structure import Structure, role_of


def load(
    file: str | Path,
    *,
    check_pattern: PatternCheck,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.time,
) -> Snapshot:
    """Load a config file.

    Args:
        file: YAML file; names in it are relative to its folder.
        check_pattern: judges path patterns, by raising ValueError; give it `policy.pattern.parse_pattern`,
            so that what is checked here is what is compiled later.
        environ: the environment, for keys that come from there.
        clock: returns the Unix time in seconds, at which certificates must be valid.

    Raises:
        ConfigError: it can't be used; holds all problems.
    """
    with _uncollected():
        return _load(Path(file), str(file), check_pattern, environ, clock())


def _load(
    file: Path, shown: str, check_pattern: PatternCheck, environ: Mapping[str, str], now_unix_s: float
) -> Snapshot:
    document = parse_document(read_text(file, shown), shown)
    config_type = role_of(document)
    if config_type is None:
        raise ConfigError(document.problems)
    structure = Structure(document, config_type)
    if structure.config is None:
        raise ConfigError(document.problems)
    resolver = Resolver(structure, file.parent, environ, now_unix_s)
    snapshot: OutSnapshot | InSnapshot
    if isinstance(structure.config, OutConfig):
        snapshot = resolve_out(structure.config, resolver, file.name)
    else:
        snapshot = resolve_in(structure.config, resolver, file.name, check_pattern)
    if document.problems:
        raise ConfigError(document.problems)
    return snapshot


@contextmanager
def _uncollected() -> Iterator[None]:
    """Have no garbage looked for: a config of a hundred thousand callers is none, and grows all the time.

    To go through it again and again takes a fifth of the time that loading takes.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_text(file: Path, shown: str) -> str:
    """Return a file's text.

    Args:
        file: where it is. shown: its name, for messages.

    Raises:
        ConfigError: it can't be read, is too large for a config, or isn't UTF-8.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(FILE_LIMIT_BYTES + 1)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "its name is not valid"
        raise ConfigError([Problem(shown, 0, "", f"the file can't be read: {reason}")]) from exc
    if len(content) > FILE_LIMIT_BYTES:
        raise ConfigError([Problem(shown, 0, "", f"the file is larger than {FILE_LIMIT_BYTES} bytes")])
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        raise ConfigError([Problem(shown, line, "", "the file is not UTF-8 text")]) from exc
