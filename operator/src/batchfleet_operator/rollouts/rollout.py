"""``split``: how far a rollout goes now, and whether it goes back.

Called by ``plan`` in every look, after the revision and the total are decided.  Its memory is
``status.rollout``; that a revision failed is remembered by a label on its ControllerRevision, which
outlives the status.  ``shares.step`` makes the moves; here stands where they stop:

    one pod ──good samples──► a quarter ──good samples──► all ──all ready──► Done
       └───────────┴── bad samples, failed starts, stuck, an alert ──► RolledBack

Without a Prometheus, with strategy Rolling, and where nothing else serves, there are no stops.  The
first stop costs nothing to take back: where ``maxSurge`` allows it, its pod comes on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import ValidationError

from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.api.status import RolloutStatus
from batchfleet_operator.conditions import time
from batchfleet_operator.decision import Event, Object, PodPatch
from batchfleet_operator.observed import Fleet
from batchfleet_operator.revisions import Choice
from batchfleet_operator.rollouts import leaving, obstacles, watching
from batchfleet_operator.rollouts.judging import Judged, at, judge, said, without_rebalancing
from batchfleet_operator.rollouts.stages import Case, Orders

STEP_EVENT = "RolloutStep"


@dataclass(frozen=True)
class Failure:
    """A revision that is not to be chosen again."""

    revision: int
    why: str
    back_to: int  # carries the label stable from now on


@dataclass(frozen=True)
class Split:
    """What each Deployment is told, and what the status says of the rollout."""

    replicas: dict[int, int]
    status: RolloutStatus | None = None
    failure: Failure | None = None
    events: Sequence[Event] = ()
    again_in_seconds: float | None = None
    patches: Sequence[PodPatch] = ()  # marks on the pods that shall go first
    ask_afresh: bool = False  # which pods these are, the sidecars must say first


def split(
    service: BatchInferenceService,
    fleet: Fleet,
    choice: Choice,
    before: RolloutStatus | None,
    total: int,
    now: datetime,
    orders: Orders | None = None,
) -> Split:
    """Replicas per revision now. ``before`` is the stored ``status.rollout``.

    Where the target gives up pods, its least loaded ones are marked before it is told so.
    """
    moved = _moved(service, fleet, choice, before, total, now, orders or Orders())
    waits = [moved.again_in_seconds]
    if any(pod.leaving and pod.state is not None for pod in fleet.pods):
        waits.append(leaving.LOOK_SECONDS)
    if choice.target is not None and not service.spec.paused:
        target = choice.target.number
        pods = [pod for pod in fleet.staying if pod.revision == target]
        asked, wanted = fleet.replicas_asked(target), moved.replicas[target]
        told = leaving.shrink(pods, asked, wanted, afresh=fleet.afresh)
        replicas = {**moved.replicas, target: told.replicas}
        moved = replace(moved, replicas=replicas, patches=told.patches, ask_afresh=told.ask_afresh)
        if told.patches or told.ask_afresh:
            waits.append(0.0)
    known = [wait for wait in waits if wait is not None]
    return replace(moved, again_in_seconds=min(known, default=None))


def _moved(
    service: BatchInferenceService,
    fleet: Fleet,
    choice: Choice,
    before: RolloutStatus | None,
    total: int,
    now: datetime,
    orders: Orders,
) -> Split:
    if choice.target is None:
        return Split({}, before)
    target = choice.target.number
    promoted = choice.promoted == target
    case = Case(service, fleet, target, before, total, now, orders, promoted)
    if service.spec.paused:
        return Split(case.moved(None), before)
    if choice.failed is not None:
        return _going_back(case, choice.failed)
    if case.stable is None or case.stable == target:
        return _at_rest(case)
    return _under_way(case, case.stable)


def remembered(status: Object) -> RolloutStatus | None:
    """``status.rollout`` as stored; one that today's models cannot read is no memory."""
    try:
        return RolloutStatus.parse(status["rollout"]) if "rollout" in status else None
    except ValidationError:
        return None


def way_back(fleet: Fleet, target: int, before: RolloutStatus | None) -> int | None:
    """Where a rollback of ``target`` would go now; ``None``: there is nothing to go back to."""
    if fleet.stable != target:
        return fleet.stable
    if before is None or before.state != "Done" or _number(before.revision) != target:
        return None
    former = _number(before.replaces)
    return former if former in fleet.controller_revisions else None


def _number(revision: str) -> int:
    return int(revision.rpartition("-")[2])


def _going_back(case: Case, failed: int) -> Split:
    """The target is the stable one, since the revision asked for has failed."""
    name, status = case.name(failed), case.before
    if status is None or status.revision != name or status.state != "RolledBack":
        why = case.fleet.failures[failed]  # the status was lost, or is about another rollout
        status = _begun(case, name, case.name(case.target), why).model_copy(
            update={"state": "RolledBack"}
        )
    return Split(case.moved(None), status)


def _at_rest(case: Case) -> Split:
    """No rollout: the target is stable, or it is the first revision of all."""
    name, before = case.name(case.target), case.before
    if before is None or before.revision != name:
        return Split(case.moved(None))
    done = before if before.state == "Done" else before.model_copy(update={"state": "Done"})
    back_to = way_back(case.fleet, case.target, done)
    if case.orders.roll_back is not None and back_to is not None and not case.promoted:
        return _failed(case, done, case.orders.roll_back, back_to)
    return Split(case.moved(None), done)


def _under_way(case: Case, stable: int) -> Split:
    name, before = case.name(case.target), case.before
    if before is not None and before.revision == name and before.state == "RolledBack":
        if not case.promoted:  # the mark on the revision did not get there, or was taken off
            return _failed(case, before, before.message, stable)
        before = None
    if before is None or before.revision != name or before.state == "Done":
        before = _begun(case, name, case.name(stable), "the rollout begins")
    served = before.served or any(pod.ready for pod in case.new)
    before = before.model_copy(update={"served": served or None, "in_place": case.in_place or None})
    if case.complete and watching.is_over(case, before):
        return Split(case.moved(None), _done(case, before))

    why = obstacles.failure(case, before)
    if why is not None and (case.spec.auto_rollback or why == case.orders.roll_back):
        return _failed(case, before, why, stable)
    held = obstacles.held(case)
    if held is not None:
        progress = without_rebalancing(said(before, "Held", held))
        return Split(case.moved(case.hold), progress)
    if before.state == "Held":  # what came meanwhile is not judged
        before = at(case, before, before.step, "it goes on")

    judged = _advanced(case, before)
    if judged.bad is not None and case.spec.auto_rollback:
        return _failed(case, judged.progress, judged.bad, stable)
    return _moving(case, before, judged, why)


def _moving(case: Case, before: RolloutStatus, judged: Judged, why: str | None) -> Split:
    """One move further, with what is in its way."""
    progress = judged.progress
    blocked = why or obstacles.blocked(case)
    if blocked is not None:
        progress = said(progress, "Paused", blocked)
    events = []
    if progress.step != before.step and before.state != "Starting":
        message = f"rollout of {progress.revision}: {judged.progress.message}"
        events.append(Event("Normal", STEP_EVENT, message))
    waits = [judged.again_in_seconds, obstacles.wait_for_room(case)]
    return Split(
        case.moved(case.hold if judged.stands else case.stop(progress.step)),
        progress,
        events=events,
        again_in_seconds=min((wait for wait in waits if wait is not None), default=None),
    )


def _done(case: Case, progress: RolloutStatus) -> RolloutStatus:
    """All pods run it."""
    message = progress.message if progress.step == "All" else "all pods run it"
    if message == watching.AFTERWARDS:
        message = "all pods run it, and rollout.analysis was asked for a while longer"
    done = said(progress, "Done", message, step="All", since=time(case.now))
    return without_rebalancing(done)


def _begun(case: Case, revision: str, replaces: str, message: str) -> RolloutStatus:
    return RolloutStatus(
        revision=revision,
        replaces=replaces,
        step="OnePod",
        since=time(case.now),
        began=time(case.now),
        state="Starting",
        message=message,
    )


def _failed(case: Case, progress: RolloutStatus, why: str, back_to: int) -> Split:
    """Nothing moves in this look: the mark on the revision is written first."""
    status = said(progress, "RolledBack", why, in_place=case.in_place or None)
    status = without_rebalancing(status)
    failure = Failure(case.target, status.message, back_to)
    return Split(case.moved(case.hold), status, failure, again_in_seconds=0.0)


def _advanced(case: Case, progress: RolloutStatus) -> Judged:
    """At the step where it is, or at the next one."""
    if watching.watches(case, progress):
        return watching.watch(case, progress)
    if progress.step == "All":
        return Judged(said(progress, "Starting", progress.message))
    straight = obstacles.straight(case, progress)
    if straight is not None:
        return Judged(at(case, progress, "All", straight))
    return judge(case, progress)
