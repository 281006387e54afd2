"""Rules, sizes and rollouts together, over anything that numbers, people and clocks may do.

What is promised is what a careful person would promise: nobody takes the last pod that serves, one
pod is deleted at a time, sizes and limits stay within their bounds, what failed is not tried again.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchfleet_operator import names
from batchfleet_operator.api import Status
from batchfleet_operator.decision import Object, Plan
from batchfleet_operator.metering.signals import Reading, Signals, Watched
from batchfleet_operator.rollouts import canary
from tests.operator.judged import JudgedCluster
from tests.operator.simulated import START, engine, is_ready, service

QUICK: Object = {"windowSeconds": 15, "confirmSeconds": 30, "mode": "Enforce"}
RULES: dict[str, Object] = {
    "slow": {"preset": "InterTokenLatency", "cooldownSeconds": 60, "verifySeconds": 60},
    "ill": {"preset": "ErrorRate", "cooldownSeconds": 60, "verifySeconds": 60},
    "full": {"preset": "Load", "cooldownSeconds": 60, "verifySeconds": 60},
    "down": {"preset": "ServiceDown", "cooldownSeconds": 60},
    "back": {"alertName": "Bad", "action": {"type": "Rollback"}},
}
NUMBERS = {"slow": (0.01, 0.5), "ill": (0.0, 0.6), "full": (0.2, 0.99), "down": (1.0, 0.0)}
"""A good one and a bad one."""

events = st.one_of(
    st.tuples(st.just("bad"), st.sampled_from(sorted(RULES))),
    st.tuples(st.just("good"), st.sampled_from(sorted(RULES))),
    st.tuples(st.just("engine"), st.integers(8, 11)),
    st.tuples(st.just("limit"), st.sampled_from([None, 4, 6])),
    st.tuples(st.just("replicas"), st.integers(0, 4)),
    st.tuples(st.just("annotate"), st.sampled_from(["paused", "promote", "promote chat-2", None])),
    st.tuples(st.just("rules"), st.lists(st.sampled_from(sorted(RULES)), unique=True, max_size=5)),
    st.tuples(st.just("forget"), st.integers(0, 40)),
    st.tuples(st.just("operator"), st.none()),
    st.tuples(st.just("prometheus"), st.booleans()),
    st.tuples(st.just("clock"), st.sampled_from([-300, -2, 600])),
    st.tuples(st.just("unready"), st.integers(0, 3)),
    st.tuples(st.just("crash"), st.integers(0, 3)),
)
sizes = st.sampled_from([None, (1, 1), (2, 2), (1, 4), (3, 6)])


def rules(chosen: list[str]) -> list[Object]:
    return [{"name": name, **QUICK, **RULES[name]} for name in chosen]


@dataclass
class Life(JudgedCluster):
    """One service; each look is held against what is promised."""

    bad: frozenset[str] = frozenset()
    offered: float | None = 2.0

    def tick(self) -> None:
        super().tick()
        if not self.up or self.watched is None:
            return
        pods = [pod["metadata"]["name"] for pod in self.staying() if is_ready(pod)]
        known = dict(self.watched.readings)
        before = {} if self.told is None else self.told.readings
        for name in RULES:
            ill = name in self.bad
            value = NUMBERS[name][ill] if name in NUMBERS else None
            by_pod = dict.fromkeys(pods, 0.0) | ({pods[0]: 0.9} if pods and ill else {})
            alert: Any = "firing" if ill else "inactive"
            reading = Reading(self.now, value, 1000.0, by_pod=by_pod, alert=alert)
            known[name] = [*before.get(name, ()), reading][-40:]
        signals = Signals(self.now, offered_per_second=self.offered, fresh_pods=len(pods))
        since = START - timedelta(hours=1) if self.told is None else self.told.since
        self.told = self.watched = Watched(since, [signals], known)

    told: Watched | None = None

    @property
    def limits(self) -> set[int]:
        """Live limits of all pods."""
        texts = [
            each["data"][names.LIVE_SETTINGS_KEY]
            for (kind, _), each in self.children.items()
            if kind == names.CONFIG_MAP.kind
        ]
        return {json.loads(text)["batching"]["maxBatchSize"] for text in texts}

    def look(self) -> Plan:
        spec = copy.deepcopy(self.parent["spec"])
        serving = {p["metadata"]["uid"] for p in self.staying() if is_ready(p)}
        failed = self.failed()
        asked = self.deployed()
        made = self.reconcile()
        assert self.parent["spec"] == spec
        assert Status.parse(made.status).as_json() == made.status
        deleted = [gone for gone in made.delete if gone.kind == names.POD.kind]
        assert len(deleted) <= 1
        for gone in deleted:
            assert serving - {gone.uid}, "the last pod that serves is not restarted"
        promoted = (self.parent["metadata"].get("annotations") or {}).get(names.ANNOTATION_ROLLOUT)
        if not (promoted or "").startswith("promote"):
            for number in failed & self.failed():
                assert self.deployed().get(number, 0) <= asked.get(number, 0)
        bounds = spec.get("autoscaling")
        if bounds:
            most = bounds["maxReplicas"] + 1  # and the surge
            assert sum(self.deployed().values()) <= max(most, sum(asked.values()))
        assert self.limits <= set(range(2, 16))
        return made

    def failed(self) -> set[int]:
        return {
            int(name.rpartition("-")[2])
            for (kind, name), each in self.children.items()
            if kind == names.CONTROLLER_REVISION.kind
            and names.LABEL_FAILED in each["metadata"]["labels"]
        }

    def round(self, *, starts: bool = True) -> None:
        ready = sum(map(is_ready, self.staying()))
        for _ in range(12):
            if self.look().again_in_seconds != 0:
                break
        else:
            raise AssertionError("it looks again and again")
        self.controllers()
        wanted = self.parent["spec"].get("autoscaling") or self.parent["spec"]["replicas"]
        if ready and wanted:
            assert sum(map(is_ready, self.staying())) >= 1, "somebody serves"
        for pod in self.staying():
            if starts and not is_ready(pod):
                self.get_ready(pod)
        self.now += timedelta(seconds=14)
        self.tick()

    def happens(self, what: str, value: Any) -> None:
        match what:
            case "bad":
                self.bad |= {value}
            case "good":
                self.bad -= {value}
            case "engine":
                self.change(engine=engine(maxNumSeqs=value))
            case "limit":
                self.change(batching={} if value is None else {"maxBatchSize": value})
            case "replicas":
                self.change(replicas=value)
            case "rules":
                self.change(alertActions=rules(value))
            case "annotate":
                self.annotate(value)
            case "forget":
                self.parent["status"] = {}
            case "operator":
                self.told = Watched(self.now, (), {})
                self.watched, self.verdict = None, None
            case "prometheus":
                self.up = value
            case "clock":
                self.now += timedelta(seconds=value)
            case _:
                for pod in self.staying()[value : value + 1]:
                    self.fail(pod) if what == "crash" else self._blinks(pod)

    def _blinks(self, pod: Object) -> None:
        since = self.now.isoformat()
        pod["status"]["conditions"] = [
            {"type": "Ready", "status": "False", "lastTransitionTime": since}
        ]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=sizes,
    replicas=st.integers(1, 4),
    bad=st.sampled_from(sorted(RULES)),
    happenings=st.lists(st.tuples(st.integers(1, 12), events), max_size=10),
)
def test_whatever_happens(
    size: tuple[int, int] | None,
    replicas: int,
    bad: str,
    happenings: list[tuple[int, tuple[str, Any]]],
) -> None:
    scaling = {} if size is None else {"minReplicas": size[0], "maxReplicas": size[1]}
    spec: Object = {"autoscaling": scaling} if scaling else {}
    brief = {"sampleSeconds": 15, "samples": 2, "deadlineSeconds": 120}
    life = Life(
        service("chat", replicas=replicas, rollout={"canary": brief}, **spec),
    )
    life.change(alertActions=rules(sorted(RULES)))
    life.tick()
    life.bad = frozenset({bad})
    for _ in range(15):
        life.round()
    for rounds, (what, value) in happenings:
        life.happens(what, value)
        for _ in range(rounds):
            life.round()

    # Left alone, all is well again: nothing is under way, and nothing is asked for.
    life.bad, life.up = frozenset(), True
    life.annotate(None)
    life.change(replicas=max(int(life.parent["spec"]["replicas"]), 1))
    for _ in range(90):
        life.round()
    status = life.parent["status"]
    assert not status.get("intents")
    assert any(map(is_ready, life.staying()))
    if size is not None:
        assert size[0] <= sum(life.deployed().values()) <= size[1] + 1
    told = status.get("rollout", {}).get("state", "Done")
    assert told in ("Done", "RolledBack")
    assert canary.ERRORS in (life.watched or Watched(START)).readings
