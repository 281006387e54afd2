"""How long a pod takes from its creation until it serves: how far ahead the fleet is sized.

Measured from the service's own pods and kept in ``status.scaling``, so that an operator start
forgets nothing.  Called by ``autoscale`` first, as every forecast reaches as far as this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

REMEMBERED = 10
DEFAULT_SECONDS = 180
"""An 8B to 70B model from a warm cache, until pods have been measured."""
LEAST_SECONDS = 30
MOST_SECONDS = 900
"""A pod that took longer waited for a node; a fleet is not sized for that hour."""
QUANTILE = 0.9


@dataclass(frozen=True, slots=True)
class Start:
    """One pod's way to its first request."""

    created: datetime
    ready_since: datetime | None  # None: not ready, or not known


@dataclass(frozen=True, slots=True)
class LeadTime:
    """What is remembered of the last starts."""

    start_seconds: tuple[int, ...]  # oldest first
    started_until: datetime | None  # pods created until then are in it

    @property
    def seconds(self) -> int:
        """The 90th percentile of them, within bounds; without any, the default."""
        if not self.start_seconds:
            return DEFAULT_SECONDS
        ordered = sorted(self.start_seconds)
        rank = math.ceil(QUANTILE * len(ordered)) - 1
        return min(max(ordered[rank], LEAST_SECONDS), MOST_SECONDS)


def learn(
    before: LeadTime, starts: Sequence[Start], watched_since: datetime | None, now: datetime
) -> LeadTime:
    """``before`` and the pods that have become ready since.

    Only pods that were created while somebody watched are measured: of an older one, ``Ready``
    may be its second.  A pod is counted once every pod created before it is ready, gone or given
    up, or ``started_until`` would hide a slower one.
    """
    if watched_since is None:
        return before
    known = before.started_until
    new = [s for s in starts if s.created >= watched_since and (known is None or s.created > known)]
    taken = list(before.start_seconds)
    for start in sorted(new, key=lambda each: each.created):
        if start.ready_since is None:
            if (now - start.created).total_seconds() > MOST_SECONDS:
                continue
            break
        taken.append(max(round((start.ready_since - start.created).total_seconds()), 0))
        known = start.created
    return LeadTime(tuple(taken[-REMEMBERED:]), known)
