"""A fleet under alert actions, in virtual time: Prometheus, the API server, the operator's looks.

``look`` is what the operator does: judge what is stored, carry the judgement out, store the status.
It can be cut off at either point, as a crash or a lost write would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from batchfleet_operator.api.alerts import AlertAction, Remediation
from batchfleet_operator.api.status import Intent, Past, RuleState, Status
from batchfleet_operator.decision import Event
from batchfleet_operator.metering.signals import Reading, Signals
from batchfleet_operator.remediation.alerts import Case, Judgement, PodFact, judge

BEGAN = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC)
TICK_SECONDS = 15.0

QUICK: dict[str, Any] = {
    "windowSeconds": 15,
    "confirmSeconds": 30,
    "verifySeconds": 60,
    "cooldownSeconds": 120,
}
"""Times of a rule that make a test's clock go round quickly: three looks confirm."""


def rule(name: str = "slow", /, **fields: Any) -> AlertAction:
    """A rule in the API's spelling, without the times that the API refuses for it."""
    action = fields.get("action", {}).get("type")
    unsaid = {"windowSeconds"} if "alertName" in fields else set()
    unsaid |= {"verifySeconds", "cooldownSeconds"} if action == "Notify" else set()
    unsaid |= {"verifySeconds"} if action == "Rollback" else set()
    quick = {key: value for key, value in QUICK.items() if key not in unsaid}
    return AlertAction.parse({"name": name, **quick, **fields})


def pods(count: int, ready: bool = True) -> list[PodFact]:
    return [PodFact(f"chat-1-{n}", f"uid-{n}", ready, BEGAN) for n in range(count)]


@dataclass
class Fleet:
    """One service, its stored status, and what was done to it."""

    rules: Sequence[AlertAction]
    remediation: Remediation = field(default_factory=lambda: Remediation(mode="Enforce"))
    now: datetime = BEGAN
    watched_since: datetime | None = BEGAN - timedelta(days=1)
    status: dict[str, Any] = field(default_factory=dict)
    readings: dict[str, list[Reading]] = field(default_factory=dict)
    own_limit: int | None = 64
    spec_limit: int | None = 64
    pods: list[PodFact] = field(default_factory=lambda: pods(3))
    facts: dict[str, Any] = field(default_factory=dict)  # more fields of the case
    restarted: list[str] = field(default_factory=list)
    rolled_back: int = 0
    events: list[Event] = field(default_factory=list)
    decided: dict[str, Intent] = field(default_factory=dict)  # stored intents, by id

    # What a user reads.
    @property
    def stored(self) -> Status:
        return Status.parse(self.status)

    @property
    def limit(self) -> int | None:
        """The live limit in every pod."""
        automatic = self.stored.automatic
        held = None if automatic is None else automatic.max_batch_size
        return self.own_limit if held is None else held

    @property
    def queue(self) -> int | None:
        automatic = self.stored.automatic
        return None if automatic is None else automatic.max_queue_length

    def state(self, name: str = "slow") -> RuleState:
        return next(each for each in self.stored.rules or () if each.name == name)

    def why(self, name: str = "slow") -> str:
        return self.state(name).reason

    @property
    def history(self) -> Sequence[Past]:
        return self.stored.history or ()

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        return [(each.action, each.outcome) for each in self.history]

    def told(self, reason: str) -> list[str]:
        return [each.message for each in self.events if each.reason == reason]

    # What happens.
    def history_forgotten(self) -> None:
        """As after an hour: the budget is whole again."""
        self.status = {**self.status, "history": []}

    def case(self) -> Case:
        stored = self.stored
        case = Case(
            now=self.now,
            watched_since=self.watched_since,
            readings=self.readings,
            remediation=self.remediation,
            intents=stored.intents or (),
            history=stored.history or (),
            rules=stored.rules or (),
            automatic=stored.automatic,
            batch_size=self.limit,
            spec_batch_size=self.spec_limit,
            own_batch_size=self.own_limit,
            max_num_seqs=self.own_limit,
            pods=list(self.pods),
            asked=len(self.pods),
        )
        return replace(case, **self.facts)

    def read(self, value: float | None, name: str = "slow", **fields: Any) -> None:
        """Prometheus is asked, and answers."""
        reading = Reading(self.now, value, fields.pop("samples", 100.0), **fields)
        self.readings.setdefault(name, []).append(reading)

    def look(self, *, acts: bool = True, stores: bool = True) -> Judgement:
        """One look; it dies before it acts, or its status write is lost."""
        judgement = judge(self.rules, self.case())
        if acts:
            self._carry_out(judgement)
        if acts and stores:
            self._store(judgement)
        return judgement

    def looks(self) -> None:
        """Looks until the operator wants to wait."""
        while self.look().again_in_seconds == 0:
            pass

    def ticks(
        self,
        count: int,
        value: float | None,
        name: str = "slow",
        others: Mapping[str, float] | None = None,
        **fields: Any,
    ) -> None:
        """Time passes: at each tick Prometheus answers ``value``, and the operator looks."""
        for _ in range(count):
            self.now += timedelta(seconds=TICK_SECONDS)
            self.read(value, name, **fields)
            for other, number in (others or {}).items():
                self.read(number, other)
            self.looks()

    def _carry_out(self, judgement: Judgement) -> None:
        if judgement.restart is not None and any(p.uid == judgement.restart.uid for p in self.pods):
            self.restarted.append(judgement.restart.name)
            fresh = PodFact(
                f"new-{len(self.restarted)}", f"fresh-{len(self.restarted)}", True, BEGAN
            )
            self.pods = [p for p in self.pods if p.uid != judgement.restart.uid] + [fresh]
        if judgement.floor is not None:
            missing = range(len(self.pods), judgement.floor[0])
            self.pods += [PodFact(f"more-{n}", f"more-{n}", True, BEGAN) for n in missing]
        if judgement.roll_back is not None:
            self.rolled_back += 1
            self.facts["can_roll_back"] = False

    def _store(self, judgement: Judgement) -> None:
        self.status = {
            "rules": [each.as_json() for each in judgement.rules],
            "intents": [each.as_json() for each in judgement.intents],
            "history": [each.as_json() for each in judgement.history],
        }
        if judgement.automatic is not None:
            self.status["automatic"] = judgement.automatic.as_json()
        self.events += judgement.events
        for each in judgement.intents:
            self.decided.setdefault(each.id, each)


def signals(**fields: Any) -> Signals:
    return Signals(at=BEGAN, **fields)
