"""How far a run is: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text


class Progress:
    """Shows what is measured now and how long the rest will take, going by how the run has kept to its plan.

    Args:
        console: where it is shown.
        expected_s: how long the whole run should take.
    """

    __slots__ = ("_bar", "_begun_s", "_console", "_expected_s", "_passed_s", "_task")

    def __init__(self, console: Console, expected_s: float) -> None:
        self._console = console
        self._expected_s = expected_s
        self._passed_s = 0.0
        self._begun_s = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), _TimeLeft())
        self._bar = Bar(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("starting", total=self._expected_s, ends_s=self._begun_s + expected_s)

    def begin(self, what: str) -> None:
        """Say what is done from now on."""
        left_s = self._left_s()
        if self._console.is_terminal:
            self._bar.update(self._task, description=what, ends_s=time.monotonic() + left_s)
        else:
            self._console.print(f"{what} (about {duration(left_s)} left)", markup=False, highlight=False)

    def end(self, expected_s: float) -> None:
        """Note that something is done that was expected to take so long."""
        self._passed_s += expected_s
        self._bar.update(self._task, completed=self._passed_s)

    def leave_out(self, expected_s: float) -> None:
        """Note that something isn't done that was expected to take so long."""
        self._expected_s -= expected_s
        self._bar.update(self._task, total=self._expected_s)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False)

    def _left_s(self) -> float:
        took_s = time.monotonic() - self._begun_s
        # The first turns say little about the pace of the rest.
        pace = took_s / self._passed_s if self._passed_s > 0.05 * self._expected_s else 1.0
        return max(0.0, self._expected_s - self._passed_s) * pace

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class _TimeLeft(ProgressColumn):
    """Counts down to the end that was last expected."""

    def render(self, task: Task) -> Text:
        left_s = max(0.0, task.fields["ends_s"] - time.monotonic())
        return Text(f"{duration(left_s)} left", style="progress.remaining")


def duration(seconds: float) -> str:
    """Return a duration in words: "45 s", "2.5 min", "12 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 60:.0f} min"
