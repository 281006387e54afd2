"""Waiting for what another process will do: the only place where these tests let time pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

LOOK_SECONDS = 0.05
T = TypeVar("T")


def eventually(
    look: Callable[[], T], *, within_seconds: float = 60.0, every_seconds: float = LOOK_SECONDS
) -> T:
    """The first true value that ``look`` returns; fails with the last one, or its failure.

    A ``look`` may assert: that counts as not yet.  The default is long since a busy machine
    should not fail a test, and the garbage collector learns of a new kind only every 30 s.
    """
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            found = look()
            if found:
                return found
            failure = AssertionError(f"still {found!r} after {within_seconds:g} s")
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise failure
        time.sleep(every_seconds)


def never(
    look: Callable[[], object], *, for_seconds: float, every_seconds: float = LOOK_SECONDS
) -> None:
    """Fails as soon as ``look`` returns something true."""
    deadline = time.monotonic() + for_seconds
    while time.monotonic() < deadline:
        found = look()
        assert not found, f"it came to {found!r}"
        time.sleep(every_seconds)
