"""Alert actions in a run: ``alerts.judge`` itself, with a memory like the operator's status.

Comes before batchfleet's own look.  Its rules are two presets, enforced: slow tokens shrink the
live batch, full pods scale out.  Settings take effect at once in all pods.
"""

from __future__ import annotations

from collections import deque

from batchfleet_operator.api.alerts import AlertAction
from batchfleet_operator.conditions import time
from batchfleet_operator.metering.signals import Reading
from batchfleet_operator.remediation.alerts import Case, Judgement, PodFact, judge
from batchfleet_operator.simulate.fleet import Fleet
from batchfleet_operator.simulate.meter import Meter, moment
from batchfleet_operator.simulate.ours import Batchfleet

WINDOW_SECONDS = 120.0
KEPT = 80  # readings: 20 minutes
QUANTILE = 0.95
SLOW_TOKENS = "slow-tokens"
FULL = "full"
RULES = (
    AlertAction(name=SLOW_TOKENS, preset="InterTokenLatency", mode="Enforce"),
    AlertAction(name=FULL, preset="Load", mode="Enforce"),
)


class Alarms:
    """``look`` is called at every look of the policy, before it."""

    def __init__(self, policy: Batchfleet) -> None:
        self._policy = policy
        self._readings: dict[str, deque[Reading]] = {
            rule.name: deque(maxlen=KEPT) for rule in RULES
        }
        self._stored: Judgement | None = None
        self._effects: set[str] = set()
        self.limits: list[tuple[float, int]] = []  # changes of the live limit

    @property
    def acted(self) -> int:
        """Actions that were begun."""
        return len(self._effects)

    @property
    def judgement(self) -> Judgement | None:
        """The last one."""
        return self._stored

    def look(self, fleet: Fleet, meter: Meter, now: float) -> None:
        for name, reading in self._read(fleet, meter, now).items():
            self._readings[name].append(reading)
        judged = self._judge(fleet, meter, now)
        if judged.again_in_seconds == 0:  # an intent is written; now it is done
            judged = self._judge(fleet, meter, now)
        self._effects |= {intent.id for intent in judged.intents}
        automatic = judged.automatic
        own = fleet.physics.batch
        limit = (automatic and automatic.max_batch_size) or own
        if limit != fleet.limit:
            fleet.set_limit(limit)
            self.limits.append((now, limit))
        self._policy.acting = bool(judged.intents)
        floor = judged.floor
        self._policy.floor = None if floor is None else (floor[0], time(floor[1]))

    def _judge(self, fleet: Fleet, meter: Meter, now: float) -> Judgement:
        before, own = self._stored, fleet.physics.batch
        scaling = self._policy.scaling
        case = Case(
            now=moment(now),
            watched_since=moment(0),
            readings={name: tuple(kept) for name, kept in self._readings.items()},
            signals=meter.signals(now),
            intents=() if before is None else before.intents,
            history=() if before is None else before.history,
            rules=() if before is None else before.rules,
            automatic=None if before is None else before.automatic,
            batch_size=fleet.limit,
            spec_batch_size=own,
            own_batch_size=own,
            max_num_seqs=own,
            queue_length=fleet.physics.queue,
            pods=[
                PodFact(str(i), str(i), pod.ready_since is not None, moment(pod.created))
                for i, pod in fleet.pods.items()
                if pod.slot is not None or pod.engine is None
            ],
            asked=fleet.asked,
            max_replicas=self._policy.max_replicas,
            lead_seconds=float((scaling and scaling.lead_seconds) or 180),
        )
        self._stored = judge(RULES, case)
        return self._stored

    def _read(self, fleet: Fleet, meter: Meter, now: float) -> dict[str, Reading]:
        told, at = fleet.ledger.told, moment(now)
        while told and told[0].end < now - WINDOW_SECONDS:
            told.popleft()
        state = meter.state(now)
        if state != "Found" or told is None:
            return {rule.name: Reading(at) for rule in RULES}
        gaps = sorted(each.between for each in told)
        whole = sum(each.whole for each in told)
        slow = Reading(
            at,
            value=gaps[int(QUANTILE * len(gaps))] if gaps else None,
            samples=float(len(gaps)),
            queue_share=sum(each.waited for each in told) / whole if whole else None,
        )
        return {SLOW_TOKENS: slow, FULL: Reading(at, value=meter.signals(now).utilisation)}
