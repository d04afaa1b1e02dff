"""The command line, called in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fastproxy.cli import main

Call = Callable[..., Result]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(main, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.fixture
def pair(call: Call) -> Call:
    """A folder in which `init` has written a pair of configs."""
    result = call("init", "--caller", "web", "--service", "api=127.0.0.1:8000", "--service", "search=s:80")
    assert result.exit_code == 0, result.output
    return call
