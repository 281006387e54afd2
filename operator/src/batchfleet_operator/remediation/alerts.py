"""``judge``: what the rules of ``spec.alertActions`` come to now. Pure; nothing is done here.

For each rule: fill it in (``presets``), see how its number stands (``breach``), work out one step
of its action (``proposal``), and ask the chain of guards (``guards``).  At most one action is under
way per service.  It is written as an intent first and done in a later look that finds the intent
stored (``underway``); the setting it changed comes back when the rule is well again (``comeback``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from batchfleet_operator.api.alerts import AlertAction
from batchfleet_operator.api.status import Automatic, Intent, Past
from batchfleet_operator.conditions import time
from batchfleet_operator.decision import Event
from batchfleet_operator.remediation import standing
from batchfleet_operator.remediation.breach import Finding, find
from batchfleet_operator.remediation.case import Case, Held, Judgement, PodFact
from batchfleet_operator.remediation.comeback import step_back
from batchfleet_operator.remediation.guards import QUIET_WINDOWS, Matter, counts, fights, held
from batchfleet_operator.remediation.in_force import after_edits
from batchfleet_operator.remediation.presets import Policy, number, policy
from batchfleet_operator.remediation.proposal import Proposal, propose
from batchfleet_operator.remediation.standing import Memory, Standing, remembered
from batchfleet_operator.remediation.underway import AT_ONCE, Progress, past, progress

__all__ = ["Case", "Judgement", "PodFact", "judge"]

HISTORY_LENGTH = 20


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, and how it stands before anything is decided."""

    policy: Policy
    finding: Finding
    memory: Memory

    @property
    def name(self) -> str:
        return self.policy.name


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that is broken, what it would do, and what keeps it from that."""

    rule: Rule
    proposal: Proposal | Held
    word: Held | None  # None: it may act

    @property
    def is_news(self) -> bool:
        """Whether its word is to be told, and was not since it broke."""
        return (
            self.word is not None
            and self.word.tell
            and self.word.reason not in self.rule.memory.told
        )


def judge(actions: Sequence[AlertAction], case: Case) -> Judgement:
    """How the rules stand, what is under way, and what of it is to be done now."""
    rules = [_rule(each, case) for each in actions]
    automatic = after_edits(case.automatic, [each.policy for each in rules], case)
    broken = _broken(rules, case)
    new = _decide(rules, broken, automatic, case)
    moved = _go_on(rules, automatic, case)
    intent = new or moved.intent
    states = tuple(
        standing.state(
            Standing(
                policy=each.policy,
                finding=each.finding,
                memory=each.memory,
                word=broken[each.name].word if each.name in broken else None,
                intent=intent if intent is not None and intent.rule == each.name else None,
                is_new=new is not None,
                opens=moved.opens and each.name == case.intents[0].rule,
                rests=moved.rests and each.name == case.intents[0].rule,
            ),
            case,
        )
        for each in rules
    )
    intents = () if intent is None else (intent,)
    return Judgement(
        rules=states,
        intents=intents,
        history=_history(broken, moved.past, case),
        automatic=moved.automatic,
        floor=moved.floor,
        restart=moved.restart,
        roll_back=moved.roll_back,
        pause_rollout=_pause_rollout(rules, case),
        condition=standing.condition(states, intents, case),
        events=_events(broken, new, moved, case),
        again_in_seconds=AT_ONCE if _is_more(new, automatic, case) else moved.again_in_seconds,
    )


def _is_more(new: Intent | None, automatic: Automatic | None, case: Case) -> bool:
    """Whether the next look has something to do as soon as this one is stored."""
    return new is not None or automatic != case.automatic


def _rule(action: AlertAction, case: Case) -> Rule:
    filled = policy(action, case)
    finding = find(filled, case)
    return Rule(filled, finding, remembered(filled, finding, case))


def _broken(rules: Sequence[Rule], case: Case) -> dict[str, Broken]:
    """The rules that are broken, each with the guards' word."""
    proposals = {
        each.name: propose(each.policy, each.finding, each.memory.broken_since or case.now, case)
        for each in rules
        if each.finding.broken
    }
    opposed = fights(proposals, [each.policy for each in rules])
    return {
        each.name: Broken(
            each,
            proposals[each.name],
            held(
                Matter(
                    each.policy,
                    each.finding,
                    proposals[each.name],
                    each.memory.before,
                    opposed.get(each.name, ()),
                    case,
                )
            ),
        )
        for each in rules
        if each.finding.broken
    }


def _decide(
    rules: Sequence[Rule],
    broken: Mapping[str, Broken],
    automatic: Automatic | None,
    case: Case,
) -> Intent | None:
    """A new action: of the first rule that may act, else a step back to the spec's settings."""
    if automatic != case.automatic:
        return None  # somebody has just changed what is in force: first that
    for each in broken.values():
        if each.word is None and isinstance(each.proposal, Proposal):
            return _intent(each.rule.policy, each.proposal, each.rule.finding.value, case)
    back = step_back(
        [each.policy for each in rules],
        {each.name: each.finding for each in rules},
        automatic,
        case,
    )
    return None if back is None else _intent(*back, None, case)


def _intent(policy: Policy, proposal: Proposal, value: float | None, case: Case) -> Intent:
    return Intent(
        id=f"{policy.name}-{case.now:%Y%m%dT%H%M%SZ}",
        rule=policy.name,
        action=proposal.action,
        phase="Acting",
        began=time(case.now),
        pod=None if proposal.pod is None else proposal.pod.name,
        pod_uid=None if proposal.pod is None else proposal.pod.uid,
        setting=proposal.setting,
        old=proposal.old,
        new=proposal.new,
        value=None if value is None else number(value),
    )


def _go_on(rules: Sequence[Rule], automatic: Automatic | None, case: Case) -> Progress:
    """The next step of what is under way, as stored."""
    if not case.intents:
        return Progress(intent=None, automatic=automatic)
    intent = case.intents[0]
    rule = next((each for each in rules if each.name == intent.rule), None)
    if rule is None:
        return progress(intent, None, None, automatic, case)
    return progress(intent, rule.policy, rule.finding, automatic, case)


def _history(broken: Mapping[str, Broken], ended: Past | None, case: Case) -> tuple[Past, ...]:
    """The last actions; of too many the oldest go, first those that changed nothing."""
    told = [_told(each, case) for each in broken.values() if each.is_news and case.remembers]
    kept = [*case.history, *([] if ended is None else [ended]), *(t for t in told if t)]
    while len(kept) > HISTORY_LENGTH:
        idle = next((n for n, each in enumerate(kept) if not counts(each)), 0)
        del kept[idle]
    return tuple(kept)


def _told(broken: Broken, case: Case) -> Past | None:
    """What only was told, as history keeps it."""
    if broken.word is None or isinstance(broken.proposal, Held):
        return None
    intent = _intent(broken.rule.policy, broken.proposal, broken.rule.finding.value, case)
    if broken.word.reason == "ObserveOnly":
        return past(intent, "Observed")
    return past(intent, "Done") if broken.word.reason == "Notified" else None


def _pause_rollout(rules: Sequence[Rule], case: Case) -> str | None:
    """Why a rollout must not go on: a rule that may act broke after it began."""
    began, since = case.rollout_began, case.watched_since
    if not case.rolling or began is None or since is None or case.paused:
        return None
    for each in rules:
        quiet = timedelta(seconds=QUIET_WINDOWS * each.policy.window_seconds)
        broke = each.memory.broken_since
        if (
            each.finding.broken
            and each.policy.mode == "Enforce"
            and case.now - since >= quiet
            and broke is not None
            and broke >= began
        ):
            return f"rule {each.name} of alertActions broke during the rollout"
    return None


def _events(
    broken: Mapping[str, Broken], new: Intent | None, moved: Progress, case: Case
) -> Sequence[Event]:
    """What is news, in words; nothing where it would be forgotten and told again."""
    if not case.remembers:
        return ()
    events = [
        Event(
            "Normal" if each.word.reason == "ObserveOnly" else "Warning",
            each.word.reason,
            f"rule {each.rule.name}: {each.word.message}",
        )
        for each in broken.values()
        if each.word is not None and each.is_news
    ]
    if new is not None:
        events.append(Event("Normal", "ActionDecided", _decided(new)))
    if _edited(moved.automatic, case):
        events.append(
            Event(
                "Normal",
                "HeldByHand",
                "the batch was edited in the spec: the operator's own settings end, and no action "
                "touches them for an hour",
            )
        )
    return [*events, *moved.events]


def _edited(after: Automatic | None, case: Case) -> bool:
    before = case.automatic
    held_until = None if after is None else after.held_until
    return held_until is not None and (before is None or before.held_until != held_until)


def _decided(intent: Intent) -> str:
    what = {
        "ScaleBatchSize": f"the live limit from {intent.old or 'none'} to {intent.new}",
        "ComeBack": f"{intent.setting} from {intent.old} back to {intent.new or 'none'}",
        "ScaleOut": f"the fleet from {intent.old} to {intent.new} pods",
        "RestartPod": f"pod {intent.pod} is restarted",
        "Rollback": "the rollout is taken back",
        "Shed": f"the longest queue from {intent.old} to {intent.new}",
        "Notify": "somebody is told",
    }[intent.action]
    because = "is well again" if intent.action == "ComeBack" else f"is broken ({intent.value})"
    return f"{intent.action}: {what}, because rule {intent.rule} {because}"
