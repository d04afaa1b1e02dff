"""An event loop whose clock jumps to the next timer instead of waiting for it.

Hours of heartbeats, timeouts and pauses go by at once and always alike. Only for plays without real I/O.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("all wait, and nothing will ever happen")
        self.now_s += max(0.0, timeout)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def play(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a play to its end, and check that nothing is left running."""

    async def played() -> T:
        result = await coroutine
        assert len(asyncio.all_tasks()) == 1, "something still runs"
        return result

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(played())
