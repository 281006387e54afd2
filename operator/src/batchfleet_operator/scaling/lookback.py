"""What may be concluded from the last looks at Prometheus: something, nothing, or a whole window.

Missing is not zero.  Read by ``autoscale`` before it believes a number: one good look is enough to
grow, and only a window without a hole is enough to shrink.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from batchfleet_operator.metering.signals import Signals

FAILED_LOOKS = 3
LEAST_GAP_SECONDS = 60.0
"""Two looks are neighbours up to here: the rates in them are means of a minute."""
GAP_TICKS = 2.5
RECENT = 5


def tells(signal: Signals) -> bool:
    """Some of the offered work is known: enough to grow by."""
    known = (signal.offered_per_second, signal.in_flight, signal.kv_usage)
    return signal.state == "Found" and any(each is not None for each in known)


def tells_all(signal: Signals) -> bool:
    """Nothing that matters is missing: enough to shrink by, with others."""
    return (  # every look asks it of a whole window
        signal.state == "Found"
        and signal.offered_per_second is not None
        and signal.in_flight is not None
        and signal.queued is not None
        and signal.fresh_pods is not None
    )


def missing(signals: Sequence[Signals], now: datetime) -> str | None:
    """Why the last look says nothing; ``None``: it does."""
    if not signals:
        return "the metrics have not been read yet"
    last = signals[-1]
    if now - last.at > _neighbours(signals):
        return "the metrics were not read for a while"
    if not tells(last):
        return last.message or f"the metrics are not usable: {last.state}"
    return None


def lost(signals: Sequence[Signals], watched_since: datetime | None, now: datetime) -> bool:
    """Nothing is told for long: three looks in a row, or no look at all."""
    if watched_since is None:
        return True
    last = signals[-FAILED_LOOKS:]
    if len(last) == FAILED_LOOKS and not any(map(tells, last)):
        return True
    seen = signals[-1].at if signals else watched_since
    return now - seen > _neighbours(signals)


def window(signals: Sequence[Signals], first: datetime) -> Sequence[Signals] | None:
    """Looks that tell all, from ``first`` on; ``None``: there is a hole, or they begin later."""
    allowed = _neighbours(signals)
    begin = first - allowed
    inside = [each for each in signals if each.at >= begin and tells_all(each)]
    if not inside or inside[-1] is not signals[-1] or inside[0].at > first:
        return None
    if any(later.at - earlier.at > allowed for earlier, later in pairwise(inside)):
        return None
    return inside


def _neighbours(signals: Sequence[Signals]) -> timedelta:
    """How far apart two looks may be, with nothing lost between them."""
    steps = [(b.at - a.at).total_seconds() for a, b in pairwise(signals[-RECENT:])]
    return timedelta(seconds=max(LEAST_GAP_SECONDS, GAP_TICKS * min(steps, default=0.0)))
