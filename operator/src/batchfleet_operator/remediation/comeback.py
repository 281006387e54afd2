"""The way back: once a rule is well again, its setting returns to what the spec says, in steps.

A step back is an action of its own: written as an intent, watched for as long as recovery takes to
believe, and taken back where the rule breaks again.  It needs no budget, since it only gives back
what the spec asked for; but it waits for recovery before each step, for every other rule that acts
to be well, and after a step that failed for as long as an open circuit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta

from batchfleet_operator.api.status import Automatic, Setting
from batchfleet_operator.conditions import time
from batchfleet_operator.observed import parse_time
from batchfleet_operator.remediation.breach import Finding
from batchfleet_operator.remediation.case import Case
from batchfleet_operator.remediation.guards import QUIET_WINDOWS
from batchfleet_operator.remediation.presets import Policy
from batchfleet_operator.remediation.proposal import Proposal
from batchfleet_operator.remediation.underway import OPEN_PER_COOLDOWN

BATCH_STEP = 1.25
BATCH_STEP_DOWN = 0.75
QUEUE_STEP = 2.0
HELD_BY_HAND = timedelta(hours=1)


def step_back(
    policies: Sequence[Policy],
    findings: Mapping[str, Finding],
    automatic: Automatic | None,
    case: Case,
) -> tuple[Policy, Proposal] | None:
    """The next step back, and whose; ``None``: there is none, or it is too early."""
    policy = next((p for p in policies if automatic and p.name == automatic.rule), None)
    if automatic is None or policy is None or policy.mode == "Observe":
        return None
    if case.intents or case.paused or not case.remembers or not _has_watched(policy, case):
        return None
    if not findings[policy.name].well_for(
        policy.recover_seconds, parse_time(automatic.since), case.now
    ):
        return None
    acting = [findings[each.name] for each in policies if each.mode == "Enforce"]
    if any(each.state in ("Broken", "Pending") for each in acting):
        return None
    if _failed_lately(policy, case):
        return None
    if automatic.max_batch_size is not None:
        own = policy.most if case.own_limit is None else case.own_limit
        new = _towards(automatic.max_batch_size, own, BATCH_STEP, BATCH_STEP_DOWN)
        new = None if new == own and case.own_limit is None else new
        return policy, _proposal("maxBatchSize", automatic.max_batch_size, new)
    if automatic.max_queue_length is not None:
        queue = _towards(automatic.max_queue_length, case.queue_length, QUEUE_STEP, 1 / QUEUE_STEP)
        return policy, _proposal("maxQueueLength", automatic.max_queue_length, queue)
    return None


def after_edits(
    automatic: Automatic | None, policies: Sequence[Policy], case: Case
) -> Automatic | None:
    """``automatic`` after what people did: an edit of the spec ends it and holds for an hour; a
    rule that is gone, or only observes by now, leaves nothing behind."""
    if automatic is None:
        return None
    if _is_edited(automatic, case):
        return Automatic(
            rule=automatic.rule,
            since=time(case.now),
            spec_batch_size=case.spec_batch_size,
            spec_queue_length=case.queue_length,
            held_until=time(case.now + HELD_BY_HAND),
        )
    if automatic.held_until is not None:
        return automatic if case.now < parse_time(automatic.held_until) else None
    acts = any(each.name == automatic.rule and each.mode == "Enforce" for each in policies)
    return automatic if acts or case.intents or case.paused else None


def _is_edited(automatic: Automatic, case: Case) -> bool:
    """Whether the spec's own limit or queue is another than when the operator set one."""
    queue = automatic.spec_queue_length
    return automatic.spec_batch_size != case.spec_batch_size or (
        queue is not None and queue != case.queue_length
    )


def _towards(value: int, own: int | None, up: float, down: float) -> int | None:
    if own is None:
        return None
    if value < own:
        return min(max(math.ceil(value * up), value + 1), own)
    return max(min(int(value * down), value - 1), own)


def _proposal(setting: Setting, old: int, new: int | None) -> Proposal:
    what = f"{setting} from {old} back towards the spec's own"
    return Proposal("ComeBack", what, setting, old, new)


def _has_watched(policy: Policy, case: Case) -> bool:
    quiet = timedelta(seconds=QUIET_WINDOWS * policy.window_seconds)
    return case.watched_since is not None and case.now - case.watched_since >= quiet


def _failed_lately(policy: Policy, case: Case) -> bool:
    rest = timedelta(seconds=OPEN_PER_COOLDOWN * policy.cooldown_seconds)
    return any(
        each.action == "ComeBack"
        and each.rule == policy.name
        and each.outcome == "Restored"
        and case.now - parse_time(each.time) < rest
        for each in case.history
    )
