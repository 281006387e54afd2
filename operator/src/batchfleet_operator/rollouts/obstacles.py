"""What stands in a rollout's way: why it has failed, is held, is not judged, or has no room.

Each answer is the words that the status says, or ``None``.  Asked by ``rollout``, which acts on it.
"""

from __future__ import annotations

from datetime import timedelta

from batchfleet_operator import names
from batchfleet_operator.api.status import RolloutStatus
from batchfleet_operator.rollouts import starts
from batchfleet_operator.rollouts.stages import Case

PAUSED = "paused"


def failure(case: Case, progress: RolloutStatus) -> str | None:
    """Why the revision has failed, as far as its pods and others say."""
    if case.promoted:
        return None
    if case.orders.roll_back is not None:
        return case.orders.roll_back
    judged = progress.step != "All"
    pods = case.fleet.of_revision(case.target)
    why = starts.failed_starts(pods) if judged or not progress.served else None
    allowed = timedelta(seconds=case.spec.progress_deadline_seconds)
    return why or starts.stuck(pods, allowed, case.now)


def held(case: Case) -> str | None:
    """Why it stands still; ``None``: it does not."""
    if case.promoted:
        return None
    if case.service.rollout == PAUSED:
        return f"the annotation {names.ANNOTATION_ROLLOUT} says {PAUSED}"
    return case.orders.pause


def straight(case: Case, progress: RolloutStatus) -> str | None:
    """Why it goes to the end without being judged."""
    if case.promoted:
        return f"the annotation {names.ANNOTATION_ROLLOUT} says promote"
    if case.spec.strategy == "Rolling":
        return "not judged, with rollout.strategy Rolling"
    if not case.orders.monitored:
        return "not judged, since the operator has no Prometheus"
    stop = case.stop(progress.step)
    if stop is None or stop.rest == 0 or not case.comparable:
        return "not judged, since no stable pod serves beside"
    return None


def blocked(case: Case) -> str | None:
    """What only a person or another GPU can change."""
    if case.swaps or not any(pod.ready for pod in case.old):
        return None
    advice = "add a GPU, or set rollout.allowDowntime: true to have the old pod go first"
    if case.surge == 0 and not case.new:
        return f"one replica and rollout.maxSurge 0, so no second pod may be made: {advice}"
    if not case.has_waited_for_room or case.shortage is None:
        return None
    return f"no room for a second pod: {advice}; {case.shortage.message}"


def wait_for_room(case: Case) -> float | None:
    """Seconds until a pod has waited for a node, or a quota, for long enough."""
    if case.shortage is None or case.in_place:
        return None
    until = case.shortage.since + timedelta(seconds=case.spec.unschedulable_seconds)
    left = (until - case.now).total_seconds()
    return left if left > 0 else None
