"""How a rule stands, in status: its state, what is remembered of it, and the condition of all.

The memory of a rule is its stored :class:`RuleState`: since when it is broken, what was told of
that, when it last acted, and until when its circuit is open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from batchfleet_operator import names
from batchfleet_operator.api.status import Intent, RuleState
from batchfleet_operator.conditions import Said, time
from batchfleet_operator.observed import parse_time
from batchfleet_operator.remediation.breach import Finding
from batchfleet_operator.remediation.case import Case, Held
from batchfleet_operator.remediation.presets import Policy
from batchfleet_operator.remediation.underway import OPEN_PER_COOLDOWN

TOLD_LENGTH = 8

State = Literal["Healthy", "Pending", "Broken", "Acting", "Inconclusive", "Invalid", "Held", "Open"]


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of one rule, brought up to date with its finding."""

    before: RuleState | None
    broken_since: datetime | None  # None: it is well, or was never broken
    told: tuple[str, ...] = ()  # since then

    @property
    def open_until(self) -> datetime | None:
        if self.before is None or self.before.open_until is None:
            return None
        return parse_time(self.before.open_until)


def remembered(policy: Policy, finding: Finding, case: Case) -> Memory:
    """The memory of one rule. What is unknown neither begins a breach nor ends it."""
    before = next((each for each in case.rules if each.name == policy.name), None)
    since = None if before is None else before.broken_since
    if since is None:
        return Memory(before, finding.run[0].at if finding.broken else None)
    if finding.well_for(policy.recover_seconds, None, case.now):
        return Memory(before, None)
    assert before is not None  # noqa: S101 - since is its own
    return Memory(before, parse_time(since), before.told or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that one rule's state is made of."""

    policy: Policy
    finding: Finding
    memory: Memory
    word: Held | None  # what keeps it from acting, where it is broken
    intent: Intent | None  # its action under way
    is_new: bool  # it was decided now
    opens: bool  # its circuit opens now
    rests: bool  # its cooldown begins anew


def state(standing: Standing, case: Case) -> RuleState:
    """The rule's state as stored. Its message stays as it is while nothing but a number moved."""
    memory, before = standing.memory, standing.memory.before
    opened = _opened(standing, case)
    what, reason, message = _stands(standing, opened, case)
    same = before is not None and (before.state, before.reason) == (what, reason)
    told = memory.told
    if standing.word is not None and standing.word.tell and standing.word.reason not in told:
        told = (*told, standing.word.reason)[-TOLD_LENGTH:]
    acts = standing.rests or (
        standing.is_new and standing.intent is not None and standing.intent.action != "ComeBack"
    )
    acted = time(case.now) if acts else None if before is None else before.acted_at
    return RuleState(
        name=standing.policy.name,
        state=what,
        reason=reason,
        message=before.message if before is not None and same else message[:1024],
        mode=standing.policy.mode,
        since=before.since if before is not None and before.state == what else time(case.now),
        open_until=None if opened is None else time(opened),
        broken_since=None if memory.broken_since is None else time(memory.broken_since),
        acted_at=acted,
        told=told or None,
    )


def _opened(standing: Standing, case: Case) -> datetime | None:
    if standing.opens:
        rest = OPEN_PER_COOLDOWN * standing.policy.cooldown_seconds
        return case.now + timedelta(seconds=rest)
    until = standing.memory.open_until
    return until if until is not None and until > case.now else None


def _stands(standing: Standing, opened: datetime | None, case: Case) -> tuple[State, str, str]:
    finding, intent = standing.finding, standing.intent
    if intent is not None:
        phase = "Decided" if standing.is_new else intent.phase
        return "Acting", phase, f"{intent.action}: {_PHASES[phase]}"
    if finding.state == "Invalid":
        return "Invalid", finding.reason, finding.message
    if opened is not None:
        return (
            "Open",
            "CircuitOpen",
            f"its last action made things worse: it does nothing until {time(opened)}",
        )
    if standing.word is not None:
        return standing.word.state, standing.word.reason, standing.word.message
    return finding.state, finding.reason, finding.message


_PHASES: Mapping[str, str] = {
    "Decided": "decided, and done as soon as that is stored",
    "Acting": "being done",
    "Verifying": "done; its result is watched",
    "Restoring": "it made things worse and is being taken back",
}


def condition(rules: Sequence[RuleState], intents: Sequence[Intent], case: Case) -> Said:
    """RemediationActive: whether the rules can act, and if not, which one needs somebody."""
    if not case.remembers:
        return Said(
            "False",
            names.CRD_OUTDATED,
            "the cluster's CRD is older than the operator and cannot keep what is under way, so "
            "nothing is done: apply crds/ of the operator's release",
        )
    if case.paused:
        return Said("False", names.PAUSED, case.why_paused or "the automation is paused")
    for wanted in _TROUBLE:
        for each in rules:
            if wanted in (each.state, each.reason):
                return Said("False", each.reason, f"rule {each.name}: {each.message}")
    if intents:
        return Said("True", names.ACTING, f"{intents[0].action} of rule {intents[0].rule}")
    if all(each.state == "Inconclusive" for each in rules):
        return Said("Unknown", rules[0].reason if rules else names.WATCHING, "no rule has a number")
    if all(each.mode == "Observe" for each in rules):
        return Said("True", names.OBSERVING, "mode Observe: what would be done is only told")
    return Said("True", names.WATCHING, f"rules that may act are watched ({len(rules)} in all)")


_TROUBLE = (
    "Open",
    "BudgetSpent",
    "RulesFight",
    "FleetSick",
    "Invalid",
    "AtMaximum",
    "Pinned",
    "NoLimit",
    "NoOutlier",
    "LastPod",
    "NothingToRollBack",
    "RolloutTooOld",
    "BrokenBefore",
)
"""States and reasons that ask for somebody, the most urgent first."""
