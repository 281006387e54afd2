"""Waiting for a cluster: the only place of the e2e tests where time passes on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NotYetError(Exception):
    """What was looked for is not there; the message says what was seen instead."""


def until(
    what: str, look: Callable[[], T], *, within_seconds: float, every_seconds: float = 0.5
) -> T:
    """What ``look`` returns as soon as it no longer raises NotYetError.

    Raises AssertionError with what was last seen when the time is over; ``look`` always runs
    at least once after the deadline, so that a slow machine does not fail a test by itself.
    """
    started = time.monotonic()
    while True:
        late = time.monotonic() - started >= within_seconds
        try:
            return look()
        except NotYetError as seen:
            if late:
                message = f"{what}: not within {within_seconds:g} s; last seen: {seen}"
                raise AssertionError(message) from None
        time.sleep(every_seconds)


def holds(what: str, look: Callable[[], object], *, for_seconds: float) -> None:
    """Looks again and again until the time is over; ``look`` raises NotYetError if it is untrue."""
    started = time.monotonic()
    while time.monotonic() - started < for_seconds:
        try:
            look()
        except NotYetError as seen:
            after = time.monotonic() - started
            raise AssertionError(f"{what}: no longer so after {after:.1f} s: {seen}") from None
        time.sleep(0.5)
