"""Can a new request still be answered in time?  Little's law over what waits, without I/O.

``Admission`` asks before it lets a request wait: slots ahead x seconds that each is taken ÷ slots.
Refused at once, a client can go to another replica; refused after its whole time, it cannot.
"""

from __future__ import annotations

import math

ENOUGH_SAMPLES = 20
"""Answers before the mean is believed: until then nobody is refused for it."""

LONGEST_RETRY_SECONDS = 30
"""By then another replica may have started, or the load have gone."""

_ADAPT = 1 / 32


class ServiceTime:
    """Mean seconds that a call holds its slots, lately.

    ``answers`` and ``seconds`` are added to as calls end, where every instruction counts, and
    folded into the mean when somebody asks.
    """

    __slots__ = ("_samples", "answers", "mean_seconds", "seconds")

    def __init__(self) -> None:
        self.answers = 0
        self.seconds = 0.0
        self.mean_seconds = 0.0
        self._samples = 0

    def wait_seconds(self, slots_ahead: float, slots: float) -> float | None:
        """Until a slot is free after ``slots_ahead``; None: not known yet."""
        self._fold()
        if self._samples < ENOUGH_SAMPLES:
            return None
        return slots_ahead * self.mean_seconds / slots

    def _fold(self) -> None:
        """The plain mean at first, so that the first answer does not stand for all."""
        new = self.answers
        if not new:
            return
        self._samples += new
        share = max(1 - (1 - _ADAPT) ** new, new / self._samples)
        self.mean_seconds += (self.seconds / new - self.mean_seconds) * share
        self.answers, self.seconds = 0, 0.0


def retry_after(wait_seconds: float | None, deadline_seconds: float = 0.0) -> int:
    """When as much of the queue has gone as is too much for the deadline."""
    if wait_seconds is None:
        return 1
    return max(1, min(LONGEST_RETRY_SECONDS, math.ceil(wait_seconds - deadline_seconds)))
