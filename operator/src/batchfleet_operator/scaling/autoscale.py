"""How many pods a service shall have: ``decide``, from the work that is offered to it.

Comes before the rollout in ``plan``, which splits this total over revisions.  Its memory is
``status.scaling``; the windows are the sampler's.  It goes up at once to what the offered rate,
the slots and the KV cache ask for, pods that are still starting counted.  It goes down in small
steps, only to what would have sufficed during the whole window, and never on missing data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from batchfleet_operator import names
from batchfleet_operator.api.autoscaling import Autoscaling
from batchfleet_operator.api.status import Scaling
from batchfleet_operator.conditions import Said
from batchfleet_operator.decision import Event
from batchfleet_operator.metering.signals import Signals
from batchfleet_operator.observed import parse_time
from batchfleet_operator.scaling import leadtime, lookback, schedule, told, work
from batchfleet_operator.scaling.demand import Demand, Sizing
from batchfleet_operator.scaling.leadtime import LeadTime, Start
from batchfleet_operator.scaling.told import Choice

__all__ = ["Capacity", "Decision", "Demand", "Start", "decide"]

GROWTH = 2
GROWTH_PODS = 4
"""A tick at most doubles the fleet, or adds four pods, as an HPA does: a wrong number is cheap."""
STEP_SECONDS = 60
STEP_SHARE = 0.1
DOWN_MARGIN = 0.03
"""Going down aims below the target by this, so that a fleet at its target stays as it is."""
DEFAULT_WINDOW_SECONDS = 1800
"""Load that comes in bursts comes again: as long as pods take to start, keeping them is cheaper."""
RECENT_SECONDS = 120
"""So long must the target itself have been met by fewer pods."""
FRESH_SHARE = 0.9
STEADY_SECONDS = 120
"""Twice the time that rates are means of."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is there."""

    asked: int  # replicas wanted until now, pending ones included
    ready: int
    pending: int  # asked for and not ready
    batch_size: int | None  # live limit per pod; None: unknown
    rolling: bool  # a rollout is under way
    acting: bool  # an alert action is under way
    starts: Sequence[Start] = ()
    refused: str | None = None  # why pods are not even created: quota, admission
    paused: str | None = None  # what keeps the automation from changing anything


@dataclass(frozen=True, slots=True)
class Decision:
    """The size, and why."""

    replicas: int
    scaling: Scaling
    condition: Said
    events: Sequence[Event] = ()
    demand: Demand | None = None


@dataclass(frozen=True, slots=True)
class _Bounds:
    low: int
    high: int
    why_low: str
    problem: str | None

    def clamp(self, replicas: int) -> int:
        return min(max(replicas, self.low), self.high)


def decide(
    policy: Autoscaling,
    signals: Sequence[Signals],
    capacity: Capacity,
    before: Scaling | None,
    start_replicas: int,
    watched_since: datetime | None,
    now: datetime,
) -> Decision:
    """The size that ``policy`` asks for.  ``signals``: every look's, oldest first.

    ``watched_since``: since when somebody looks; ``None``: no Prometheus is configured.
    """
    now = now.replace(microsecond=0)
    lead = leadtime.learn(_lead_before(before), capacity.starts, watched_since, now)
    known = work.of(
        policy.work_milliseconds_per_request,
        _work_before(before),
        signals,
        capacity.batch_size,
        capacity.ready,
        _steady(capacity, now),
    )
    bounds = _bounds(policy, before, lead.seconds, now)
    current = max(start_replicas, capacity.asked) if before is None else before.desired_replicas
    missing = lookback.missing(signals, now)
    demand = None
    if missing is not None:
        lost = lookback.lost(signals, watched_since, now)
        choice = _without(policy, current, missing if watched_since else told.NO_PROMETHEUS, lost)
    else:
        sizing = Sizing.of(policy, known.seconds, capacity.batch_size, lead.seconds)
        demand = sizing.demand(signals[-1])
        choice = _size(policy, sizing, demand, signals, capacity, before, bounds, current, now)
    if capacity.paused is not None:
        choice = Choice(current, names.PAUSED, capacity.paused)
    choice = _bounded(choice, bounds, demand)
    scaling = told.scaling(choice, before, lead, known, now)
    condition = told.condition(choice, scaling, bounds.problem)
    return Decision(
        choice.replicas, scaling, condition, told.events(choice, before, scaling), demand
    )


def window_seconds(policy: Autoscaling) -> int:
    """How far back ``decide`` looks before it shrinks a fleet."""
    return policy.scale_down_window_seconds or DEFAULT_WINDOW_SECONDS


def _lead_before(before: Scaling | None) -> LeadTime:
    if before is None:
        return LeadTime((), None)
    until = None if before.started_until is None else parse_time(before.started_until)
    return LeadTime(before.start_seconds or (), until)


def _work_before(before: Scaling | None) -> work.Learnt:
    if before is None:
        return work.Learnt((), None)
    at = None if before.work_measured is None else parse_time(before.work_measured)
    return work.Learnt(before.work_milliseconds or (), at)


def _steady(capacity: Capacity, now: datetime) -> bool:
    """No pod has just begun to serve: the rates of the last minute are those of these pods."""
    young = now - timedelta(seconds=STEADY_SECONDS)
    return not capacity.rolling and not any(
        start.ready_since is not None and start.ready_since > young for start in capacity.starts
    )


def _bounds(
    policy: Autoscaling, before: Scaling | None, lead_seconds: float, now: datetime
) -> _Bounds:
    """The highest of all minimums, below the maximum."""
    timed = schedule.minimum(policy.schedules or (), policy.time_zone, now, lead_seconds)
    lows = [(policy.min_replicas, names.AT_MINIMUM), (timed.replicas, names.SCHEDULED)]
    if before is not None and before.floor_until and parse_time(before.floor_until) > now:
        lows.append((before.floor_replicas or 0, names.SCALED_OUT))
    low, why = max(lows, key=lambda each: each[0])
    return _Bounds(min(low, policy.max_replicas), policy.max_replicas, why, timed.problem)


def _without(policy: Autoscaling, current: int, why: str, lost: bool) -> Choice:
    """Metrics are missing: as many as there are, and the fallback if that is more."""
    if not lost:
        return Choice(current, names.HOLDING, why)
    fallback = policy.fallback_replicas
    if fallback is not None and fallback >= current:
        return Choice(fallback, names.FALLBACK, f"{why}; fallbackReplicas {fallback} holds")
    return Choice(current, names.NO_METRICS, f"{why}; no pod is taken away until they are back")


def _size(
    policy: Autoscaling,
    sizing: Sizing,
    demand: Demand,
    signals: Sequence[Signals],
    capacity: Capacity,
    before: Scaling | None,
    bounds: _Bounds,
    current: int,
    now: datetime,
) -> Choice:
    """Up to what is needed now, down to what sufficed during the window, or neither."""
    needed, numbers = demand.replicas, told.numbers(demand)
    since = None if before is None else parse_time(before.since)
    if needed is None or needed <= current:
        quiet = _quiet(policy, capacity, signals[-1], since, now)
        lower = _lower(policy, sizing, signals, current, now) if quiet else current
        nothing_known = demand.n_rate is None and demand.n_slot is None
        unknown = nothing_known and (needed is None or needed < bounds.clamp(lower))
        reason = names.UNMEASURED if unknown else told.sized_by(demand)
        return Choice(lower, reason, told.UNMEASURED if unknown else numbers)
    if capacity.refused is not None and capacity.pending > 0:
        said = f"{current} pods stay asked for, {capacity.ready} serve: {capacity.refused}"
        return Choice(current, names.PODS_REFUSED, said)
    # Between two looks nothing new is known: a size is not doubled twice on one number.
    if since is not None and signals[-1].at < since + timedelta(seconds=1):
        return Choice(current, names.HOLDING, numbers)
    grown = min(needed, max(GROWTH * current, current + GROWTH_PODS))
    return Choice(grown, told.sized_by(demand), numbers)


def _quiet(
    policy: Autoscaling, capacity: Capacity, last: Signals, since: datetime | None, now: datetime
) -> bool:
    """Nothing is going on that a smaller fleet would disturb, or be judged wrongly by."""
    rest = timedelta(seconds=min(STEP_SECONDS, window_seconds(policy)))
    rested = since is None or now - since >= rest
    whole = capacity.pending == 0 or capacity.refused is not None
    fresh = last.fresh_pods is not None and last.fresh_pods >= FRESH_SHARE * capacity.ready
    return rested and whole and fresh and not capacity.rolling and not capacity.acting


def _lower(
    policy: Autoscaling,
    sizing: Sizing,
    signals: Sequence[Signals],
    current: int,
    now: datetime,
) -> int:
    """One step down, if what is left meets the target for now, and would have carried the load of
    the whole window; else ``current``."""
    step = max(1, math.floor(STEP_SHARE * current))
    margin = sizing.target / (sizing.target - DOWN_MARGIN)
    looks = lookback.window(signals, now - timedelta(seconds=window_seconds(policy)))
    if looks is None:
        return current
    sufficed = 0
    for look in reversed(looks):
        needs = sizing.needs(look, ahead=look is looks[-1])
        if needs.rate is None and needs.slots is None and not _idle(look):
            return current
        recent = now - look.at <= timedelta(seconds=RECENT_SECONDS)
        pods = (needs.most or 0.0) * margin if recent else sizing.least(look).most or 0.0
        sufficed = max(sufficed, math.ceil(min(pods, current)))
        if sufficed >= current:
            return current
    return max(current - step, sufficed)


def _idle(look: Signals) -> bool:
    return not look.offered_per_second and not look.in_flight and not look.queued


def _bounded(choice: Choice, bounds: _Bounds, demand: Demand | None) -> Choice:
    """Within the bounds, which say so where they decide; a bound of the spec holds always."""
    replicas = bounds.clamp(choice.replicas)
    needed = None if demand is None else demand.replicas
    if choice.reason in told.DEGRADED or needed is None:
        return Choice(replicas, choice.reason, choice.message)
    if replicas == bounds.high and needed > bounds.high:
        said = f"more pods are needed than maxReplicas {bounds.high} allows: {choice.message}"
        return Choice(replicas, names.AT_MAXIMUM, said)
    if replicas == bounds.low and max(needed, 1) < bounds.low:
        said = f"{told.LOWER[bounds.why_low]}: {choice.message}"
        return Choice(replicas, bounds.why_low, said)
    return Choice(replicas, choice.reason, choice.message)
