"""An action that is under way: done, watched, and taken back where it made things worse.

Works on a *stored* intent only, so a crash at any point repeats nothing: each look finds in the
status and in the cluster how far the action has come, and asks for no more than what is missing.
What an intent asks for may be asked for again and again and is done once: a pod is deleted by its
UID, a setting is a number, a rollback is of one revision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from batchfleet_operator import names
from batchfleet_operator.api.status import Automatic, Intent, Past
from batchfleet_operator.conditions import time
from batchfleet_operator.decision import Event, Ref
from batchfleet_operator.observed import parse_time
from batchfleet_operator.remediation.breach import Finding, median_since
from batchfleet_operator.remediation.case import Case
from batchfleet_operator.remediation.in_force import with_setting
from batchfleet_operator.remediation.presets import Policy

DO_WITHIN = timedelta(minutes=5)
"""What was decided longer ago and is not done yet was decided upon numbers of another time."""
WORSE = 0.1
OPEN_PER_COOLDOWN = 6
"""How long a circuit stays open: an hour, where the cooldown is ten minutes."""
AT_ONCE = 0.0

Outcome = Literal["Helped", "Unchanged", "Restored", "Failed", "Done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How an action goes on."""

    intent: Intent | None  # None: it is over
    automatic: Automatic | None
    past: Past | None = None
    opens: bool = False  # the rule's circuit
    rests: bool = False  # the rule's cooldown begins anew
    floor: tuple[int, datetime] | None = None
    restart: Ref | None = None
    roll_back: str | None = None
    events: Sequence[Event] = ()
    again_in_seconds: float | None = None


def progress(
    intent: Intent,
    policy: Policy | None,
    finding: Finding | None,
    automatic: Automatic | None,
    case: Case,
) -> Progress:
    """The next step of ``intent``. Without a policy its rule is gone."""
    if automatic is not None and automatic.held_until and intent.setting is not None:
        return _over(intent, "Done", "somebody edited the setting meanwhile", automatic, case)
    match intent.phase:
        case "Acting":
            return _act(intent, policy, automatic, case)
        case "Verifying":
            return _verify(intent, policy, finding, automatic, case)
        case "Restoring":
            return _restore(intent, automatic, case)


def _act(
    intent: Intent, policy: Policy | None, automatic: Automatic | None, case: Case
) -> Progress:
    if _is_done(intent, automatic, case):
        if intent.action == "Rollback" or policy is None:
            return _over(intent, "Done", "it is done", automatic, case)
        wait = policy.recover_seconds if intent.action == "ComeBack" else policy.verify_seconds
        until = case.now + timedelta(seconds=wait)
        after = intent.model_copy(update={"phase": "Verifying", "verify_at": time(until)})
        return Progress(
            intent=after, automatic=automatic, floor=_floor(intent, policy), again_in_seconds=wait
        )
    why_not = _gave_up(intent, policy, automatic, case)
    if why_not is not None:
        return _over(intent, "Failed", why_not, automatic, case)
    if intent.setting is not None:
        wanted = with_setting(automatic, intent, intent.new, case)
        return Progress(intent=intent, automatic=wanted, again_in_seconds=AT_ONCE)
    pod = Ref(names.POD.kind, intent.pod or "", intent.pod_uid or "")
    return Progress(
        intent=intent,
        automatic=automatic,
        floor=_floor(intent, policy),
        restart=pod if intent.action == "RestartPod" else None,
        roll_back=f"rule {intent.rule} of alertActions" if intent.action == "Rollback" else None,
        again_in_seconds=1.0,
    )


def _is_done(intent: Intent, automatic: Automatic | None, case: Case) -> bool:
    """Whether the cluster or the stored status shows the effect."""
    match intent.action:
        case "RestartPod":
            return all(pod.uid != intent.pod_uid for pod in case.pods)
        case "ScaleOut":
            return case.asked >= (intent.new or 0)
        case "Rollback":
            return not case.can_roll_back
        case "Notify":
            return True
        case _:
            return with_setting(automatic, intent, intent.new, case) == automatic


def _gave_up(
    intent: Intent, policy: Policy | None, automatic: Automatic | None, case: Case
) -> str | None:
    """Why what was decided is not done after all."""
    if policy is None or policy.mode == "Observe":
        return "its rule is gone, or only observes"
    if case.paused:
        return "the automation was paused before it was done"
    if case.now - parse_time(intent.began) > DO_WITHIN:
        return "it was decided too long ago"
    if intent.setting == "maxBatchSize" and _limit_before(intent, automatic, case) != intent.old:
        return "the live limit is another one by now"
    return None


def _limit_before(intent: Intent, automatic: Automatic | None, case: Case) -> int | None:
    """What ``intent`` takes the live limit to be as long as it is not done."""
    if intent.action == "ComeBack":
        return None if automatic is None else automatic.max_batch_size
    return case.batch_size


def _floor(intent: Intent, policy: Policy | None) -> tuple[int, datetime] | None:
    """Least replicas of a ScaleOut; the autoscaler's own numbers hold after its cooldown."""
    if intent.action != "ScaleOut" or intent.new is None or policy is None:
        return None
    lasts = max(policy.cooldown_seconds, policy.verify_seconds)
    return intent.new, parse_time(intent.began) + timedelta(seconds=lasts)


def _verify(
    intent: Intent,
    policy: Policy | None,
    finding: Finding | None,
    automatic: Automatic | None,
    case: Case,
) -> Progress:
    if policy is None or finding is None:
        return _over(intent, "Done", "its rule is gone", automatic, case)
    waits = Progress(intent=intent, automatic=automatic, floor=_floor(intent, policy))
    if intent.action == "ComeBack" and finding.broken:
        return waits if case.paused else _take_back(intent, automatic)
    until = parse_time(intent.verify_at or intent.began)
    if case.now < until:
        return waits
    patience = until + timedelta(seconds=policy.verify_seconds)
    if intent.action == "ComeBack":
        if finding.state == "Healthy":
            return _over(intent, "Helped", "the rule is still well", automatic, case)
        return waits if case.now < patience else _unjudged(intent, automatic, case)
    value = _value_now(intent, policy, until, case)
    if value is None or intent.value is None:
        return waits if case.now < patience else _unjudged(intent, automatic, case)
    baseline = case.readings[policy.name][-1].baseline
    if not policy.is_broken(value, baseline):
        return _over(intent, "Helped", "the number is within its bound", automatic, case)
    if policy.is_worse(value, float(intent.value), WORSE):
        if case.paused:
            return waits
        if intent.setting is not None:
            return _take_back(intent, automatic)
        said = "it is worse by a tenth than before, and cannot be taken back"
        return _over(intent, "Failed", said, automatic, case, opens=True)
    return _over(intent, "Unchanged", "no better, no worse", automatic, case)


def _unjudged(intent: Intent, automatic: Automatic | None, case: Case) -> Progress:
    return _over(intent, "Done", "there is no number to judge it by", automatic, case)


def _value_now(intent: Intent, policy: Policy, until: datetime, case: Case) -> float | None:
    """The number of the last window, whose own windows begin after the action, or is the last."""
    readings = case.readings.get(policy.name, ())
    window = timedelta(seconds=policy.window_seconds)
    done = until - timedelta(seconds=policy.verify_seconds)
    value = median_since(policy, readings, max(done + window, case.now - window), case.now)
    if value is None and until < done + window:  # it is judged sooner than a window is over
        value = median_since(policy, readings[-1:], done, case.now)
    return value


def _take_back(intent: Intent, automatic: Automatic | None) -> Progress:
    """First only as a phase.  A step back that broke the rule is a change like any action: what is
    read until it is undone is no reason for another."""
    return Progress(
        rests=True,
        intent=intent.model_copy(update={"phase": "Restoring"}),
        automatic=automatic,
        again_in_seconds=AT_ONCE,
    )


def _restore(intent: Intent, automatic: Automatic | None, case: Case) -> Progress:
    if case.paused:
        return Progress(intent=intent, automatic=automatic)
    wanted = with_setting(automatic, intent, intent.old, case)
    if wanted != automatic:
        return Progress(intent=intent, automatic=wanted, again_in_seconds=AT_ONCE)
    said = "it made things worse and was taken back"
    return _over(intent, "Restored", said, automatic, case, opens=intent.action != "ComeBack")


def _over(
    intent: Intent,
    outcome: Outcome,
    said: str,
    automatic: Automatic | None,
    case: Case,
    opens: bool = False,
) -> Progress:
    bad = opens or outcome in ("Failed", "Restored")
    event = Event(
        "Warning" if bad else "Normal",
        f"Action{outcome}",
        f"{intent.action} of rule {intent.rule}: {said}",
    )
    return Progress(
        intent=None,
        automatic=automatic,
        past=past(intent, outcome),
        opens=opens,
        events=[event],
        again_in_seconds=AT_ONCE,  # the others wait for it
    )


def past(
    intent: Intent,
    outcome: Literal["Observed", "Helped", "Unchanged", "Restored", "Failed", "Done"],
) -> Past:
    """``intent`` as history keeps it."""
    return Past(
        time=intent.began,
        rule=intent.rule,
        action=intent.action,
        outcome=outcome,
        pod=intent.pod,
        setting=intent.setting,
        old=intent.old,
        new=intent.new,
        value=intent.value,
    )
