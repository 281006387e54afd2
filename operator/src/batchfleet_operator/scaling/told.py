"""What the autoscaler says: ``status.scaling``, the condition ScalingActive, and events.

Numbers of a moment are told when the size changes, and then stay: a status that moved with every
look would be written with every look.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from batchfleet_operator import names
from batchfleet_operator.api.status import Scaling
from batchfleet_operator.conditions import Said, time
from batchfleet_operator.decision import Event
from batchfleet_operator.scaling.demand import Demand
from batchfleet_operator.scaling.leadtime import LeadTime
from batchfleet_operator.scaling.work import Work

MESSAGE_LENGTH = 1024
SIZED = frozenset({names.SIZED_BY_RATE, names.SIZED_BY_SLOTS, names.SIZED_BY_MEMORY})
DEGRADED = frozenset({names.NO_METRICS, names.FALLBACK, names.PAUSED, names.PODS_REFUSED})
"""Reasons why the fleet's size is not that of its work."""
WARNINGS = frozenset({names.NO_METRICS, names.FALLBACK})
LOWER = {
    names.AT_MINIMUM: "minReplicas holds, the work needs fewer",
    names.SCHEDULED: "a schedule's minReplicas holds, the work needs fewer",
    names.SCALED_OUT: "an alert action's ScaleOut holds, the work needs fewer",
}
NO_PROMETHEUS = "no Prometheus is configured: set monitoring.prometheus.url in the operator's chart"
UNMEASURED = (
    "nothing is known yet of what a pod can do: it is learnt when requests wait; set "
    "batching.maxBatchSize, engine.maxNumSeqs or autoscaling.workMillisecondsPerRequest"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A size, and why."""

    replicas: int
    reason: str
    message: str


def scaling(
    choice: Choice, before: Scaling | None, lead: LeadTime, known: Work, now: datetime
) -> Scaling:
    """The new ``status.scaling``; where nothing but a number moved, the words stay."""
    changed = before is None or before.desired_replicas != choice.replicas
    if before is None or changed or not _same(choice.reason, before.reason):
        reason, message = choice.reason, choice.message
    else:
        reason, message = before.reason, before.message
    learnt = known.learnt
    return Scaling(
        desired_replicas=choice.replicas,
        reason=reason,
        message=message[:MESSAGE_LENGTH],
        since=time(now) if before is None or changed else before.since,
        start_seconds=lead.start_seconds or None,
        started_until=None if lead.started_until is None else time(lead.started_until),
        lead_seconds=lead.seconds,
        work_milliseconds=learnt.milliseconds or None,
        work_measured=None if learnt.measured is None else time(learnt.measured),
        floor_replicas=None if before is None else before.floor_replicas,
        floor_until=None if before is None else before.floor_until,
    )


def _same(new: str, old: str) -> bool:
    """The same to somebody who reads it: the same size, by whichever demand."""
    return new in (old, names.HOLDING) or (new in SIZED and old in SIZED)


def condition(choice: Choice, told: Scaling, problem: str | None) -> Said:
    """``ScalingActive``: whether the fleet has the size of its work."""
    if told.reason in DEGRADED:
        return Said("False", told.reason, told.message)
    if problem is not None:
        return Said("False", names.UNKNOWN_TIME_ZONE, problem)
    if told.reason == names.UNMEASURED:
        return Said("Unknown", told.reason, told.message)
    return Said("True", told.reason, told.message)


def events(choice: Choice, before: Scaling | None, told: Scaling) -> list[Event]:
    """A change of size, with its numbers; and that the metrics are gone."""
    if before is None:
        return []
    if before.desired_replicas != choice.replicas:
        said = f"{before.desired_replicas} to {choice.replicas} pods: {choice.message}"
        return [Event("Warning" if told.reason in WARNINGS else "Normal", told.reason, said)]
    if told.reason in WARNINGS and told.reason != before.reason:
        return [Event("Warning", told.reason, told.message)]
    return []


def sized_by(demand: Demand) -> str:
    """Which of the three asks for the most."""
    asked = (
        (demand.n_rate, names.SIZED_BY_RATE),
        (demand.n_slot, names.SIZED_BY_SLOTS),
        (demand.n_kv, names.SIZED_BY_MEMORY),
    )
    return max(asked, key=lambda each: -1 if each[0] is None else each[0])[1]


def numbers(demand: Demand) -> str:
    """What the size was made from."""
    parts = []
    if demand.offered_per_second is not None and demand.forecast_per_second is not None:
        parts.append(
            f"{demand.offered_per_second:.3g} engine calls/s, {demand.forecast_per_second:.3g} "
            f"expected in {demand.lead_seconds:.0f} s"
        )
    if demand.work_seconds is not None:
        parts.append(f"{demand.work_seconds:.3g} s of a full pod for each")
    counts = (("rate", demand.n_rate), ("slots", demand.n_slot), ("KV cache", demand.n_kv))
    asked = ", ".join(f"{name} {count}" for name, count in counts if count is not None)
    return "; ".join([*parts, f"pods needed by {asked}" if asked else "no demand is known"])
