"""How much of a pod's time one request takes: seconds of a pod at full batch, per engine call.

Two ways to know it without being told.  By Little's law, calls in flight ÷ calls that end per
second is how long a call stays; divided by the batch it is the pod's time for it.  That works at
any load and follows the mix of lengths at once, but a call stays longer in a full batch than in a
half empty one.  While calls wait, pods work as fast as they can, and pods ÷ calls that end per
second is the truth: that is learnt and kept in ``status.scaling``.  Called by ``autoscale``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from batchfleet_operator.metering.signals import Signals

REMEMBERED = 10
WAITING = 5.0
"""Calls that wait when a fleet counts as saturated."""
SATURATED_SECONDS = 60.0
MEAN_SECONDS = 300.0
"""Little's law holds of means: over this long, several times a call's stay."""
LEAST_CALLS = 20.0
"""Ended calls without which a mean says little."""
STRETCH = 0.68
"""How much longer a call stays in a full batch than in an empty one, as a share of the full one:
0.43 by decoding alone (llama2-70b on four H100: 28.8 + 0.336 ms for each call of a batch of 64),
0.68 where prompts of 1,000 tokens are read in between.  Too high costs pods, too low latency."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """Estimates made while calls waited."""

    milliseconds: tuple[int, ...]  # oldest first
    measured: datetime | None  # when the last of them was made


@dataclass(frozen=True, slots=True)
class Work:
    """What is known of a call's work."""

    learnt: Learnt
    seconds: float | None  # of a full pod, for one engine call; None: not known


def of(
    given_milliseconds: int | None,
    learnt: Learnt,
    signals: Sequence[Signals],
    batch_size: int | None,
    ready: int,
    steady: bool,
) -> Work:
    """``signals``: oldest first.  ``steady``: no pod came or went lately."""
    known = _recent(signals)
    saturated = _saturated(known, ready) if steady else None
    if saturated is not None and _due(learnt.measured, known[-1].at):
        kept = (*learnt.milliseconds, max(round(1000 * saturated), 1))[-REMEMBERED:]
        learnt = Learnt(kept, known[-1].at)
    if given_milliseconds is not None:
        return Work(learnt, given_milliseconds / 1000)
    little = None if batch_size is None else by_littles_law(known, batch_size)
    if little is not None:
        return Work(learnt, little if saturated is None else max(little, saturated))
    kept = learnt.milliseconds
    return Work(learnt, sum(kept) / len(kept) / 1000 if kept else None)


def _recent(signals: Sequence[Signals]) -> list[Signals]:
    """The last five minutes' looks that know how many calls ended, oldest first."""
    found: list[Signals] = []
    for each in reversed(signals):
        if (signals[-1].at - each.at).total_seconds() > MEAN_SECONDS:
            break
        if each.completed_per_second is not None and each.state == "Found":
            found.append(each)
    return found[::-1]


def _due(measured: datetime | None, now: datetime) -> bool:
    """One estimate a minute: the next one shares no sample with the last."""
    return measured is None or (now - measured).total_seconds() >= SATURATED_SECONDS


def _saturated(signals: Sequence[Signals], ready: int) -> float | None:
    """Pods ÷ calls that end per second, when calls have waited for all of the last minute."""
    if not signals or ready == 0:
        return None
    now = signals[-1].at
    last = [s for s in signals if (now - s.at).total_seconds() <= SATURATED_SECONDS]
    covered = (now - last[0].at).total_seconds() >= SATURATED_SECONDS * 0.75
    completed = signals[-1].completed_per_second
    if not covered or not completed or completed * SATURATED_SECONDS < 1:
        return None
    if any(s.queued is None or s.queued < WAITING * max(ready, 1) for s in last):
        return None
    return ready / completed


def by_littles_law(signals: Sequence[Signals], batch_size: int) -> float | None:
    """Calls in flight ÷ calls ended per second ÷ batch, as it would be in a full batch."""
    if not signals:
        return None
    last = [s for s in signals if s.in_flight is not None and s.fresh_pods]
    ended = sum(s.completed_per_second or 0.0 for s in last)
    pods = sum(s.fresh_pods or 0 for s in last)
    in_flight = sum(s.in_flight or 0.0 for s in last)
    if not last or ended / len(last) * MEAN_SECONDS < LEAST_CALLS or in_flight <= 0:
        return None
    full = min(in_flight / pods / batch_size, 1.0)
    stay = in_flight / ended
    return stay / batch_size / at_fill(full)


def at_fill(share: float) -> float:
    """How long a call stays in a pod of which ``share`` is filled, as a share of a full pod's."""
    return 1 - STRETCH + STRETCH * share
