"""The live limit: how many engine calls may be under way at once.

``Pipeline`` asks before it sends and tells when a call is over.  Fixed here: the number comes from
the live settings.
"""

from __future__ import annotations

import sys


class FixedLimit:
    """``ceiling`` may change at any time; lowered, it holds as calls end.  None: no limit."""

    __slots__ = ("ceiling", "in_flight")

    def __init__(self, ceiling: int | None) -> None:
        self.ceiling = ceiling
        self.in_flight = 0

    def room(self) -> int:
        """Calls that may be sent now; without a ceiling more than anybody has."""
        if self.ceiling is None:
            return sys.maxsize
        return max(0, self.ceiling - self.in_flight)
