"""May a broken rule act now?  A chain of guards, asked from top to bottom; the first word counts.

Comes after ``proposal``.  Each guard is one small function with a reason and a message; to know
what holds the automation back, read ``GUARDS``.  Guards decide nothing else and remember nothing:
all that they look at is the :class:`Matter`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from batchfleet_operator.api.status import Intent, Past, RuleState
from batchfleet_operator.observed import parse_time
from batchfleet_operator.remediation.breach import Finding
from batchfleet_operator.remediation.case import Case, Held
from batchfleet_operator.remediation.presets import Policy
from batchfleet_operator.remediation.proposal import YOUNG_ROLLOUT, Proposal

ACTIONS_PER_HOUR = 3
QUIET_WINDOWS = 2
"""After an operator start: what was there before it looked is not in its numbers."""
OFFERED_SHARE = 0.9
FULL_KV_SHARE = 0.8
TELLING = ("Notify",)
"""Actions that change nothing: what keeps changes apart does not hold them."""
UNCOUNTED = ("Observed",)
"""Outcomes of what was not done."""


@dataclass(frozen=True, slots=True)
class Matter:
    """One broken rule, and all that is known of it."""

    policy: Policy
    finding: Finding
    proposal: Proposal | Held
    before: RuleState | None
    fights: Sequence[str]  # rules that are broken too and want the opposite
    case: Case

    @property
    def tells_only(self) -> bool:
        return self.policy.action in TELLING


Guard = Callable[[Matter], Held | None]


def held(matter: Matter) -> Held | None:
    """The first guard's word; ``None``: it may act."""
    for guard in GUARDS:
        word = guard(matter)
        if word is not None:
            return word
    return None


def _nobody_has_paused(matter: Matter) -> Held | None:
    if not matter.case.paused:
        return None
    return Held("Held", "Paused", matter.case.why_paused or "the automation is paused")


def _it_has_watched_for_a_while(matter: Matter) -> Held | None:
    since, window = matter.case.watched_since, matter.policy.window_seconds
    if since is not None and matter.case.now - since >= timedelta(seconds=QUIET_WINDOWS * window):
        return None
    return Held("Held", "JustStarted", "the operator has watched for less than two windows")


def _its_circuit_is_closed(matter: Matter) -> Held | None:
    until = None if matter.before is None else matter.before.open_until
    if until is None or parse_time(until) <= matter.case.now:
        return None
    return Held("Open", "CircuitOpen", f"its last action made things worse: it rests until {until}")


def _no_rule_wants_the_opposite(matter: Matter) -> Held | None:
    if not matter.fights:
        return None
    others = ", ".join(matter.fights)
    return Held(
        "Broken",
        "RulesFight",
        f"one wants a larger batch and one a smaller: {matter.policy.name}, {others}; neither "
        "acts; change a bound, or take one of them out",
        tell=True,
    )


def _there_is_something_to_do(matter: Matter) -> Held | None:
    return matter.proposal if isinstance(matter.proposal, Held) else None


def _a_larger_batch_would_help(matter: Matter) -> Held | None:
    """Throughput is low for many reasons; the batch is one only where work waits for a place."""
    if matter.policy.preset != "Throughput" or not matter.policy.grows:
        return None
    signals, usual = matter.case.signals, matter.finding.run[-1].baseline
    if signals is None or usual is None:
        return _UNKNOWN_LOAD
    offered, joined = signals.offered_per_second, signals.joined_share
    kv, pods = signals.kv_usage, signals.fresh_pods
    if offered is None or signals.queued is None or kv is None or not pods:
        return _UNKNOWN_LOAD
    if offered * (1 - (joined or 0)) < OFFERED_SHARE * usual:
        return Held("Broken", "LessOffered", "fewer requests are sent than usual: nothing is wrong")
    if signals.queued < 1:
        return Held("Broken", "NothingWaits", "no request waits for a place in the batch")
    if kv / pods >= FULL_KV_SHARE:
        return Held(
            "Broken", "CacheFull", "the KV cache is nearly full: a larger batch would not fit"
        )
    return None


_UNKNOWN_LOAD = Held(
    "Inconclusive", "LoadUnknown", "what is offered, what waits or the KV cache is not known"
)


def _the_rollout_is_over(matter: Matter) -> Held | None:
    """Two changes at once cannot be told apart; more room never harms a rollout."""
    case, proposal = matter.case, matter.proposal
    if not case.rolling or isinstance(proposal, Held):
        return None
    young = case.rollout_began is None or case.now - case.rollout_began < YOUNG_ROLLOUT
    if proposal.action == "RestartPod" or (proposal.action == "ScaleBatchSize" and young):
        return Held("Held", "RollingOut", "a rollout is under way: it changes the numbers itself")
    return None


def _nothing_is_in_flight(matter: Matter) -> Held | None:
    if not matter.case.intents or matter.tells_only:
        return None
    other = matter.case.intents[0]
    return Held("Held", "InFlight", f"another action is under way: {other.action} of {other.rule}")


def _it_has_cooled_down(matter: Matter) -> Held | None:
    acted = None if matter.before is None else matter.before.acted_at
    cooldown = matter.policy.cooldown_seconds
    if acted is None or matter.tells_only:
        return None
    if matter.case.now - parse_time(acted) >= timedelta(seconds=cooldown):
        return None
    return Held("Held", "Cooldown", f"it acted at {acted}, less than {cooldown:g} seconds ago")


def _the_budget_is_not_spent(matter: Matter) -> Held | None:
    case = matter.case
    most = case.remediation.max_actions_per_hour or ACTIONS_PER_HOUR
    if matter.tells_only or len(within_the_hour(case.history, case.intents, case)) < most:
        return None
    return Held(
        "Held",
        "BudgetSpent",
        f"{most} actions in an hour (remediation.maxActionsPerHour) have not mended it: nothing "
        "more is done until that hour has passed; somebody has to look",
        tell=True,
    )


def _it_may_act(matter: Matter) -> Held | None:
    proposal = matter.proposal
    if isinstance(proposal, Held):
        return None
    if matter.tells_only:
        return Held("Broken", "Notified", matter.finding.message, tell=True)
    if not matter.case.remembers:
        return Held(
            "Broken",
            "ObserveOnly",
            f"would be done: {proposal.what}; but the cluster's CRD is older than the operator "
            "and cannot keep what is under way",
            tell=True,
        )
    if matter.policy.mode == "Enforce":
        return None
    return Held(
        "Broken", "ObserveOnly", f"with mode Enforce it would be done: {proposal.what}", tell=True
    )


GUARDS: Sequence[Guard] = (
    _nobody_has_paused,
    _it_has_watched_for_a_while,
    _its_circuit_is_closed,
    _no_rule_wants_the_opposite,
    _there_is_something_to_do,
    _a_larger_batch_would_help,
    _the_rollout_is_over,
    _nothing_is_in_flight,
    _it_has_cooled_down,
    _the_budget_is_not_spent,
    _it_may_act,
)
"""People first, then what is known, then what was done before; Observe last, so that it tells only
what really would be done."""


def counts(past: Past) -> bool:
    """Whether it used up the hour's budget: something was changed, and not merely taken back."""
    return past.outcome not in UNCOUNTED and past.action not in ("Notify", "ComeBack")


def within_the_hour(
    history: Sequence[Past], intents: Sequence[Intent], case: Case
) -> list[Past | Intent]:
    """Actions that were decided within the last hour."""
    hour = case.now - timedelta(hours=1)
    done = [each for each in history if counts(each) and parse_time(each.time) > hour]
    return [*done, *(each for each in intents if each.action != "ComeBack")]


def fights(
    proposals: Mapping[str, Proposal | Held], policies: Sequence[Policy]
) -> dict[str, list[str]]:
    """By rule: the others that would turn the same knob the other way."""
    turning = [
        each
        for each in policies
        if each.name in proposals
        and each.mode == "Enforce"
        and each.action == "ScaleBatchSize"
        and _of_the_batch(proposals[each.name])
    ]
    return {
        each.name: [other.name for other in turning if other.grows != each.grows]
        for each in turning
    }


def _of_the_batch(proposal: Proposal | Held) -> bool:
    return isinstance(proposal, Held) or proposal.setting == "maxBatchSize"
