"""The account of a run: every request in one line, and who shared whose engine call."""

from __future__ import annotations

from collections import Counter, OrderedDict

from bench.traffic.question import Question
from bench.traffic.verdict import Outcome, Verdict

CALLS_KEPT = 100_000
"""Engine calls remembered; an answer is never shared for longer than its cache entry lives."""
FINDINGS_KEPT = 20

Sharing = tuple[str, str, bool, bool]
"""Of the requests that one call answered: caller, what they asked, may share, the owner is seen."""


class Ledger:
    def __init__(self) -> None:
        self.sent = 0  # requests begun on some connection, those sent again included
        self.outcomes: Counter[Outcome] = Counter()
        self.details: Counter[tuple[Outcome, str]] = Counter()
        self.posts: Counter[Outcome] = Counter()  # of those that may take a slot
        self.results: Counter[str] = Counter()  # of complete answers
        self.findings: list[str] = []
        self._calls: OrderedDict[str, Sharing] = OrderedDict()

    @property
    def finished(self) -> int:
        """Requests that will not be sent again."""
        return sum(self.outcomes.values()) - self.outcomes[Outcome.SENT_AGAIN]

    def enter(self, question: Question, verdict: Verdict) -> Verdict:
        """Book one request; sharing that must not be turns into a mix-up."""
        verdict = self._sharing(question, verdict)
        self.outcomes[verdict.outcome] += 1
        if question.method == b"POST":
            self.posts[verdict.outcome] += 1
        if verdict.outcome is Outcome.COMPLETE:
            self.results[verdict.result or "outside"] += 1
        elif verdict.outcome in (Outcome.LOST, Outcome.MIXED_UP):
            if len(self.findings) < FINDINGS_KEPT:
                self.findings.append(_told(question, verdict))
        else:
            self.details[verdict.outcome, verdict.detail] += 1
        return verdict

    def _sharing(self, question: Question, verdict: Verdict) -> Verdict:
        if not verdict.call or verdict.outcome is Outcome.MIXED_UP:
            return verdict
        owner = verdict.result == "direct"
        before = self._calls.get(verdict.call)
        if before is None:
            self._calls[verdict.call] = (question.caller, question.asked, question.may_share, owner)
            if len(self._calls) > CALLS_KEPT:
                self._calls.popitem(last=False)
            return verdict
        caller, asked, may_share, owned = before
        wrong = ""
        if (caller, asked) != (question.caller, question.asked):
            wrong = "one call answered two tenants, or two questions"
        elif not (may_share and question.may_share):
            wrong = "one call answered a request that may not be shared, and another"
        elif owned and owner:
            wrong = "one call answered two requests that were told they had their own"
        self._calls[verdict.call] = (caller, asked, may_share, owned or owner)
        return Verdict(Outcome.MIXED_UP, wrong, verdict.call, verdict.result) if wrong else verdict


def _told(question: Question, verdict: Verdict) -> str:
    target = question.target.decode()
    return (
        f"{verdict.outcome}: {verdict.detail} ({question.method.decode()} {target}, "
        f"{'stream' if question.stream else 'whole'}, {question.manner.name.lower()}, "
        f"{verdict.result or 'no result'}, call {verdict.call or 'unknown'}, "
        f"{question.body[:120].decode(errors='replace')})"
    )
