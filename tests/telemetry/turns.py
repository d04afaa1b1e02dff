"""A loop whose turns and time pass when a test says so, and an output that gathers lines by it."""

from __future__ import annotations

from collections.abc import Callable

from fastproxy.telemetry.output import LineOutput


class PlayedLoop:
    """As much of a loop as an output needs: keeps what is put off until the test lets it happen."""

    def __init__(self) -> None:
        self._soon: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self._later: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def call_soon(self, callback: Callable[..., object], *args: object) -> None:
        """Call it at the end of the turn."""
        self._soon.append((callback, args))

    call_soon_threadsafe = call_soon

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: object) -> None:
        """Call it when time passes, whatever the delay."""
        assert delay_s > 0
        self._later.append((callback, args))

    def end_turn(self) -> None:
        """Do what was put off to the end of this turn."""
        due, self._soon = self._soon, []
        for callback, args in due:
            callback(*args)

    def pass_time(self) -> None:
        """Do what was put off to later."""
        due, self._later = self._later, []
        for callback, args in due:
            callback(*args)

    def gathers(self, output: LineOutput) -> LineOutput:
        """Let an output gather lines by this loop."""
        output.gather(self)  # type: ignore[arg-type]
        return output
