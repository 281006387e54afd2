"""The way back: once a rule is well again, its setting returns to what the spec says, in steps.

A step back is an action of its own: written as an intent, watched for as long as recovery takes to
believe, and taken back where the rule breaks again.  It needs no budget, since it only gives back
what the spec asked for; but it waits for recovery before each step, until no other rule that acts
is broken, and after a step that failed for as long as an open circuit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta

from batchfleet_operator.api.status import Automatic, Setting
from batchfleet_operator.observed import parse_time
from batchfleet_operator.remediation import in_force
from batchfleet_operator.remediation.breach import Finding
from batchfleet_operator.remediation.case import Case
from batchfleet_operator.remediation.guards import QUIET_WINDOWS
from batchfleet_operator.remediation.presets import Policy
from batchfleet_operator.remediation.proposal import Proposal
from batchfleet_operator.remediation.underway import OPEN_PER_COOLDOWN

BATCH_STEP = 1.25
BATCH_STEP_DOWN = 0.75
QUEUE_STEP = 2.0


def step_back(
    policies: Sequence[Policy],
    findings: Mapping[str, Finding],
    automatic: Automatic | None,
    case: Case,
) -> tuple[Policy, Proposal] | None:
    """The next step back, and whose; ``None``: there is none, or it is too early."""
    if automatic is None or case.intents or case.paused or not case.remembers:
        return None
    acting = [findings[each.name] for each in policies if each.mode == "Enforce"]
    if any(each.state in ("Broken", "Pending") for each in acting):
        return None
    by_name = {each.name: each for each in policies if each.mode == "Enforce"}
    for setting, value in in_force.values(automatic).items():
        policy = by_name.get(in_force.owner(automatic, setting))
        if policy is not None and _is_time(policy, findings[policy.name], automatic, case):
            return policy, _step(policy, setting, value, case)
    return None


def _is_time(policy: Policy, finding: Finding, automatic: Automatic, case: Case) -> bool:
    """Whether the rule has been well for long enough since anything was set."""
    well = finding.well_for(policy.recover_seconds, parse_time(automatic.since), case.now)
    return well and _has_watched(policy, case) and not _failed_lately(policy, case)


def _step(policy: Policy, setting: Setting, value: int, case: Case) -> Proposal:
    if setting == "maxQueueLength":
        queue = _towards(value, case.queue_length, QUEUE_STEP, 1 / QUEUE_STEP)
        return _proposal(setting, value, queue)
    own = policy.most if case.own_limit is None else case.own_limit
    new = _towards(value, own, BATCH_STEP, BATCH_STEP_DOWN)
    return _proposal(setting, value, None if new == own and case.own_limit is None else new)


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
