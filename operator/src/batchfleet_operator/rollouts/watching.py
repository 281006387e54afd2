"""The last step of a rollout that was judged: watched, though no sample is needed to go on.

While pods move, each sample time the errors of the new pods are compared with those of the stable
ones that are left.  Once the last of these has gone there is nothing to compare with; where the
spec brings an analysis, that one is asked for as many samples more, and only then it is done.  Two
bad samples in a row condemn, as before; a missing number holds nothing up for longer than the
deadline.  Called by ``rollout``, in place of ``judging``.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from batchfleet_operator.api.status import RolloutStatus
from batchfleet_operator.conditions import time
from batchfleet_operator.observed import parse_time
from batchfleet_operator.rollouts import canary
from batchfleet_operator.rollouts.canary import Pods
from batchfleet_operator.rollouts.judging import BAD_SAMPLES, Count, Judged, said
from batchfleet_operator.rollouts.stages import Case

AFTERWARDS = "all pods run it, and rollout.analysis goes on for a while"


def watches(case: Case, progress: RolloutStatus) -> bool:
    """Whether it is at the last step, came there by samples, and samples are to be had."""
    asked = case.spec.strategy == "Auto" and case.orders.monitored and not case.promoted
    return bool(progress.judged) and progress.step == "All" and asked


def is_over(case: Case, progress: RolloutStatus) -> bool:
    """Whether a rollout that all pods run is done, or is watched for a while yet."""
    if not watches(case, progress) or case.spec.analysis is None:
        return True
    if _is_condemned(progress):
        return False
    enough = (progress.good_samples or 0) >= case.spec.judging.samples
    idle = canary.idle(case.spec, case.orders.watched, 1.0)
    return enough or idle or case.now >= _deadline(case, progress)


def watch(case: Case, progress: RolloutStatus) -> Judged:
    """Take a sample, where one is due."""
    if not _is_condemned(progress):
        progress = _goes_on(case, progress)
    pause = timedelta(seconds=case.spec.judging.sample_seconds)
    began = _complete_since(case, progress) if case.complete else parse_time(progress.since)
    last = began if progress.sampled is None else max(began, parse_time(progress.sampled))
    due = last + pause
    stands = _is_condemned(progress)
    if case.now < due:
        return Judged(progress, stands=stands, again_in_seconds=(due - case.now).total_seconds())
    warm = [pod.name for pod in case.new if pod.ready and pod.waiting_since <= case.now - pause]
    pods = Pods(warm, [pod.name for pod in case.old if pod.ready])
    sample = canary.sample(case.spec, case.orders.watched, pods, due, moving=True)
    match sample.verdict:
        case "Unknown":
            left = (_deadline(case, progress) - case.now).total_seconds() if case.complete else None
            return Judged(progress, stands=stands, again_in_seconds=left)
        case "Good":
            good = (progress.good_samples or 0) + 1 if case.complete else None
            count = Count(good, None, time(case.now))
            progress = _goes_on(case, said(progress, progress.state, progress.message, count))
        case "Bad":
            count = Count(None, (progress.bad_samples or 0) + 1, time(case.now))
            progress = said(progress, progress.state, progress.message, count)
    if _is_condemned(progress):
        progress = said(progress, "Paused", f"all pods: {sample.message}")
        return Judged(progress, sample.message, stands=True, again_in_seconds=pause.total_seconds())
    return Judged(progress, again_in_seconds=pause.total_seconds())


def _goes_on(case: Case, progress: RolloutStatus) -> RolloutStatus:
    if case.complete:
        return said(progress, "Judging", AFTERWARDS)
    message = "all pods: it goes on" if progress.state == "Paused" else progress.message
    return said(progress, "Starting", message)


def _is_condemned(progress: RolloutStatus) -> bool:
    """It would have gone back; without autoRollback it stands until a sample is good."""
    return (progress.bad_samples or 0) >= BAD_SAMPLES


def _deadline(case: Case, progress: RolloutStatus) -> datetime:
    deadline = timedelta(seconds=case.spec.judging.deadline_seconds)
    return _complete_since(case, progress) + deadline


def _complete_since(case: Case, progress: RolloutStatus) -> datetime:
    return max(parse_time(progress.since), *(pod.waiting_since for pod in case.new))
