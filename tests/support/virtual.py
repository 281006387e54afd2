"""An event loop whose time is virtual: when nothing is left to do, the clock jumps.

Hours of back-off pass in a moment, in the same order as they would.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Never waits: it tells how long it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout:
            self.waited += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.waited


def run(work: Coroutine[Any, Any, T]) -> T:
    """Like ``asyncio.run``.  Work that waits for ever for nothing never ends: use a time-out."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(work)
