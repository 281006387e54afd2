"""What a broken rule would do now: one step of its action, with numbers; or why there is none.

Comes after ``breach`` and before the guards, which decide whether it may.  Nothing here grows a
breach: a fleet never shrinks, a batch never leaves its bounds, a queue that makes latency is not
fought with a smaller batch, and one pod is restarted only where the others are well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from batchfleet_operator.api.service import BATCH_HEADROOM
from batchfleet_operator.api.status import Done, Setting
from batchfleet_operator.observed import parse_time
from batchfleet_operator.remediation.breach import Finding
from batchfleet_operator.remediation.case import Case, Held, PodFact
from batchfleet_operator.remediation.outlier import sick_pods, the_outlier
from batchfleet_operator.remediation.presets import Policy

QUEUE_SHARE = 0.5
"""Of a latency: above it requests mostly wait, and a smaller batch makes them wait longer."""
GROW_SHARE = 0.25
"""Of the fleet: one step of ScaleOut, at least one pod."""
LEAST_QUEUE_SHARE = 0.125
"""Of the spec's own queue: Shed never makes it shorter."""
YOUNG_ROLLOUT = timedelta(minutes=30)
"""After its last step, or its end, a rollout is not taken to be the cause any more.  A large fleet
whose pods take minutes to start rolls for hours: while it moves, it is young."""
SICK_SHARE = 0.4
"""Of the fleet: above it the pods are not the cause, and restarting them makes it worse."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One step of an action."""

    action: Done
    what: str  # for people, without numbers that move
    setting: Setting | None = None
    old: int | None = None
    new: int | None = None
    pod: PodFact | None = None


def propose(policy: Policy, finding: Finding, broke: datetime, case: Case) -> Proposal | Held:
    """What ``policy`` would do now, having been broken since ``broke``."""
    match policy.action:
        case "ScaleBatchSize":
            if policy.latency and policy.shrinks and _mostly_waits(finding):
                return _more_room(case)
            return _batch_step(policy, case)
        case "ScaleOut":
            return _more_room(case) if policy.sheds else _more_pods(case)
        case "RestartPod":
            return _restart(policy, finding, broke, case)
        case "Rollback":
            return _roll_back(broke, case)
        case "Shed":
            return _shorter_queue(policy.factor, case)
        case "Notify":
            return Proposal("Notify", "a person is told")


def queue_now(case: Case) -> int:
    """The longest queue per pod in force."""
    shed = None if case.automatic is None else case.automatic.max_queue_length
    return case.queue_length if shed is None else shed


def _is_held(case: Case) -> bool:
    held_until = None if case.automatic is None else case.automatic.held_until
    return held_until is not None and case.now < parse_time(held_until)


_HELD_BY_HAND = Held(
    "Held",
    "HeldByHand",
    "somebody edited the batch in the spec, by hand: it is left alone for an hour",
)


def _mostly_waits(finding: Finding) -> bool:
    shares = [each.queue_share for each in finding.run if each.queue_share is not None]
    return bool(shares) and shares[-1] > QUEUE_SHARE


def _batch_step(policy: Policy, case: Case) -> Proposal | Held:
    if _is_held(case):
        return _HELD_BY_HAND
    limit = policy.most if case.batch_size is None else case.batch_size
    if limit is None or policy.least is None or policy.most is None:
        return Held(
            "Broken",
            "NoLimit",
            "there is no limit to change: set batching.maxBatchSize or engine.maxNumSeqs",
            tell=True,
        )
    if policy.grows:
        return _larger(policy, limit, case)
    new = max(min(int(limit * policy.factor), limit - 1, policy.most), policy.least)
    if new >= limit:
        return Held(
            "Broken",
            "Pinned",
            f"the live limit is at its least, {policy.least}, and the rule is broken still: "
            "a smaller batch does not help; look at the fleet, or lower action.minBatchSize",
            tell=True,
        )
    return Proposal(
        "ScaleBatchSize",
        f"the live limit from {limit} to {new}",
        "maxBatchSize",
        case.batch_size,
        new,
    )


def _larger(policy: Policy, limit: int, case: Case) -> Proposal | Held:
    assert policy.most is not None  # noqa: S101 - the caller has looked
    engine = None if case.max_num_seqs is None else case.max_num_seqs + BATCH_HEADROOM
    most = policy.most if engine is None else min(policy.most, engine)
    new = min(max(math.ceil(limit * policy.factor), limit + 1), most)
    if new > limit:
        return Proposal(
            "ScaleBatchSize",
            f"the live limit from {limit} to {new}",
            "maxBatchSize",
            case.batch_size,
            new,
        )
    if engine is not None and engine < policy.most:
        wanted = math.ceil((case.max_num_seqs or 0) * policy.factor)
        return Held(
            "Broken",
            "Pinned",
            f"the live limit is all that the engine runs, engine.maxNumSeqs {case.max_num_seqs}: "
            f"raise that to {wanted}, which is a rollout",
            tell=True,
        )
    return Held(
        "Broken",
        "Pinned",
        f"the live limit is at its most, {policy.most}: raise action.maxBatchSize, or "
        "batching.maxBatchSize where the rule has no bounds of its own",
        tell=True,
    )


def _more_room(case: Case) -> Proposal | Held:
    """More pods; where there are no more to be had, a shorter queue."""
    if case.max_replicas is not None and case.asked < case.max_replicas:
        return _more_pods(case)
    return _shorter_queue(0.5, case)


def _more_pods(case: Case) -> Proposal | Held:
    if case.max_replicas is None or case.asked >= case.max_replicas:
        return Held(
            "Broken",
            "AtMaximum",
            "the fleet is as large as it may be: raise autoscaling.maxReplicas",
            tell=True,
        )
    if case.ready < case.asked:
        return Held("Held", "PodsPending", "pods that were asked for are starting")
    step = max(math.ceil(case.asked * GROW_SHARE), 1)
    new = min(case.asked + step, case.max_replicas)
    return Proposal("ScaleOut", f"the fleet from {case.asked} to {new} pods", None, case.asked, new)


def _shorter_queue(factor: float, case: Case) -> Proposal | Held:
    if _is_held(case):
        return _HELD_BY_HAND
    queue = queue_now(case)
    least = max(math.ceil(case.queue_length * LEAST_QUEUE_SHARE), 1)
    new = max(int(queue * factor), least)
    if new >= queue:
        return Held(
            "Broken",
            "Pinned",
            "the queue is as short as Shed makes it, an eighth of the spec's own: "
            "the fleet is too small for what is offered",
            tell=True,
        )
    return Proposal("Shed", f"the queue from {queue} to {new}", "maxQueueLength", queue, new)


def _restart(policy: Policy, finding: Finding, broke: datetime, case: Case) -> Proposal | Held:
    known, sick = sick_pods(policy, finding.run, case.pods)
    if not known:
        return Held("Inconclusive", "PodsUnknown", "it is not known which pods are ill")
    # One of two is half the fleet, and still one pod beside one that is well; one of one has
    # nobody to be compared with.
    if len(sick) > SICK_SHARE * len(known) and (len(sick) > 1 or len(known) == 1):
        rollback = _roll_back(broke, case)
        if isinstance(rollback, Proposal):
            return rollback
        return Held(
            "Broken",
            "FleetSick",
            "more than 40 % of the pods are ill, so the pods are not the cause and none is "
            "restarted: somebody has to look",
            tell=True,
        )
    pod = the_outlier(sick, known, case.pods)
    if pod is None:
        return Held(
            "Broken",
            "NoOutlier",
            "no pod is three times as ill as the others: restarting one would not help",
            tell=True,
        )
    if not any(other.ready for other in case.pods if other.uid != pod.uid):
        return Held(
            "Broken", "LastPod", "no other pod is ready to take its requests meanwhile", tell=True
        )
    return Proposal("RestartPod", f"pod {pod.name} is restarted", pod=pod)


def _roll_back(broke: datetime, case: Case) -> Proposal | Held:
    began = case.rollout_began
    if began is None or not case.can_roll_back:
        return Held(
            "Broken",
            "NothingToRollBack",
            "there is no rollout that could be taken back: somebody has to look",
            tell=True,
        )
    if case.rollout_moved is not None and case.now - case.rollout_moved > YOUNG_ROLLOUT:
        return Held(
            "Broken",
            "RolloutTooOld",
            "the rollout has moved no pod for 30 minutes, so it is not taken to be the cause: "
            "somebody has to look",
            tell=True,
        )
    if broke < began:
        return Held(
            "Broken",
            "BrokenBefore",
            "it was broken before the rollout began, which may be what mends it",
            tell=True,
        )
    return Proposal("Rollback", "the rollout is taken back")
