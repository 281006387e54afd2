"""How a step of a rollout is judged: samples counted, a step passed or the revision condemned.

Called by ``rollout`` once the step's pods are wanted; ``canary`` takes the single sample.  Unknown
pauses the count and resets nothing.  Past the deadline an undecided step goes on where the service
has too few requests to judge by, and waits for somebody where it has enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from batchfleet_operator import names
from batchfleet_operator.api.service import Spec
from batchfleet_operator.api.status import RolloutStatus, Step
from batchfleet_operator.conditions import time
from batchfleet_operator.observed import parse_time
from batchfleet_operator.revisions import PROMOTE
from batchfleet_operator.rollouts import canary
from batchfleet_operator.rollouts.canary import Pods
from batchfleet_operator.rollouts.stages import Case

State = Literal["Starting", "Judging", "Held", "Paused", "Done", "RolledBack"]

BAD_SAMPLES = 2
"""One may be a hiccup; two in a row, a sample's time apart, are the revision's."""

TEXT_LENGTH = 1024
UNDECIDED = (
    "undecided after rollout.canary.deadlineSeconds, so it waits (the annotation "
    f"{names.ANNOTATION_ROLLOUT}: {PROMOTE} has it go on)"
)

WORDS: dict[Step, str] = {
    "OnePod": "one pod",
    "Quarter": "a quarter of the pods",
    "All": "all pods",
}


@dataclass(frozen=True)
class Judged:
    """How it stands after this look."""

    progress: RolloutStatus
    bad: str | None = None  # why the revision is condemned
    stands: bool = False  # no pod moves, though it is at the last step
    again_in_seconds: float | None = None


@dataclass(frozen=True)
class Count:
    """Samples of one step."""

    good: int | None = None
    bad: int | None = None  # since the last good one
    sampled: str | None = None


def said(
    progress: RolloutStatus, state: State, message: str, count: Count | None = None, **more: Any
) -> RolloutStatus:
    """``progress`` with another state and message, and with ``count`` where one is given."""
    counted = {}
    if count is not None:
        counted = {
            "good_samples": count.good,
            "bad_samples": count.bad,
            "sampled": count.sampled,
        }
    text = message[:TEXT_LENGTH]
    return progress.model_copy(update={"state": state, "message": text, **counted, **more})


def at(case: Case, progress: RolloutStatus, step: Step, why: str) -> RolloutStatus:
    """At the beginning of ``step``."""
    message = f"{WORDS[step]}: {why}"
    progress = said(progress, "Starting", message, Count(), step=step, since=time(case.now))
    return without_rebalancing(progress) if step == "All" else progress


def without_rebalancing(progress: RolloutStatus) -> RolloutStatus:
    """Connections live as long as they did before."""
    return progress.model_copy(update={"rebalancing": None})


def connection_age_seconds(spec: Spec, progress: RolloutStatus | None) -> int | None:
    """The age at which connections of *all* pods end while the new ones lack requests.

    Half a sample's time, so that a sample later they have their part.  Were it the stable pods'
    connections alone, every client would end up at the new pods, and stay there.
    """
    if progress is None or not progress.rebalancing:
        return None
    return max(spec.rollout.judging.sample_seconds // 2, 1)


def judge(case: Case, progress: RolloutStatus) -> Judged:
    """Count what can be counted now."""
    words, rules = WORDS[progress.step], case.spec.judging
    if len(case.new) < case.goal(progress.step) or not all(pod.ready for pod in case.new):
        allowed = timedelta(seconds=case.spec.progress_deadline_seconds)
        if case.now - parse_time(progress.since) < allowed + timedelta(
            seconds=rules.deadline_seconds
        ):
            return Judged(said(progress, "Starting", f"{words}: not all ready yet", Count()))
        message = f"{words}: not ready for long enough to be judged"
        return Judged(said(progress, "Paused", message, Count()))

    pause = timedelta(seconds=rules.sample_seconds)
    began = max(parse_time(progress.since), *(pod.waiting_since for pod in case.new))
    last = began if progress.sampled is None else max(began, parse_time(progress.sampled))
    due = last + pause
    comparing = f"{words}: compared with the stable pods"
    if case.now < due:
        wait = (due - case.now).total_seconds()
        if progress.state != "Paused":
            progress = said(progress, "Judging", comparing)
        return Judged(progress, again_in_seconds=wait)

    pods = Pods([pod.name for pod in case.new], [pod.name for pod in case.old if pod.ready])
    sample = canary.sample(case.spec, case.orders.watched, pods, due)
    late = case.now >= began + timedelta(seconds=rules.deadline_seconds)
    if sample.verdict == "Unknown":
        share = len(case.new) / len(case.fleet.staying)
        idle = canary.idle(case.spec, case.orders.watched, share)
        left_open = case.service.spec.requests.max_connection_age_seconds is None
        if sample.few and left_open and not idle:
            progress = progress.model_copy(update={"rebalancing": True})
        if not late:
            left = began + timedelta(seconds=rules.deadline_seconds) - case.now
            waiting = said(progress, "Judging", f"{words}: judging waits, since {sample.message}")
            return Judged(waiting, again_in_seconds=left.total_seconds())
        if idle:
            return Judged(_passed(case, progress, f"{words} got ready, and the service is idle"))
        return Judged(said(progress, "Paused", f"{words}: {UNDECIDED}: {sample.message}"))

    good, bad = progress.good_samples or 0, progress.bad_samples or 0
    if sample.verdict == "Good":
        if good + 1 >= rules.samples:
            why = f"{words} did as well as the stable ones in {rules.samples} samples"
            return Judged(_passed(case, progress, why))
        count, message = Count(good + 1, None, time(case.now)), comparing
    else:
        count, message = Count(None, bad + 1, time(case.now)), f"{words}: {sample.message}"
        if bad + 1 >= BAD_SAMPLES:
            return Judged(said(progress, "Paused", message, count), sample.message)
    if late:
        message = f"{words}: {UNDECIDED}: good and bad samples alternate"
    counted = said(progress, "Paused" if late else "Judging", message, count)
    return Judged(counted, again_in_seconds=pause.total_seconds())


def _passed(case: Case, progress: RolloutStatus, why: str) -> RolloutStatus:
    """At the next step that has more pods."""
    quarter = progress.step == "OnePod" and case.goal("Quarter") > case.goal("OnePod")
    passed = at(case, progress, "Quarter" if quarter else "All", why)
    return passed if quarter else passed.model_copy(update={"judged": True})
