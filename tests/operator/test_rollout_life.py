"""Rollouts over any life that pods, numbers, people and the operator's memory can have."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from batchfleet_operator import names
from batchfleet_operator.decision import Object
from tests.operator.judged import JudgedCluster, Numbers, revision
from tests.operator.simulated import condition, is_ready, service

Fate = Literal["good", "bad", "never", "crashes", "flaps", "half", "unknown", "idle"]
PLENTY = 94
ENDS = ("Done", "RolledBack", "Paused", "Held")

happenings = st.lists(
    st.tuples(
        st.integers(0, 40),  # when, in minutes
        st.one_of(
            st.tuples(st.just("scale"), st.integers(1, 6)),
            st.tuples(st.just("annotate"), st.sampled_from(["paused", None])),
            st.tuples(st.just("forget"), st.integers(0, 30)),  # the status of so many looks ago
            st.tuples(st.just("prometheus"), st.booleans()),
            st.tuples(st.just("restart the operator"), st.just(0)),
        ),
    ),
    max_size=4,
)
Happens = list[tuple[int, tuple[str, object]]]
bounds = st.fixed_dictionaries(
    {
        "maxSurge": st.integers(0, 2),
        "maxUnavailable": st.integers(0, 2),
        "allowDowntime": st.booleans(),
    }
).filter(lambda each: each["maxSurge"] or each["maxUnavailable"])


@dataclass
class Life(JudgedCluster):
    """Revision 1 is well; revision 2 has a fate."""

    fate: Fate = "good"
    gpus: int = 100
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    past: list[Object] = field(default_factory=list)

    @property
    def total(self) -> int:
        return int(self.parent["spec"]["replicas"])

    @property
    def limits(self) -> Object:
        found: Object = self.parent["spec"]["rollout"]
        return found

    def minute(self) -> None:
        """One look, with its promises, then a minute of everybody else's work."""
        ready, there = sum(map(is_ready, self.staying())), len(self.staying())
        self.past.append(copy.deepcopy(self.parent.get("status", {})))
        self.reconcile()
        self.controllers()
        staying = self.staying()
        assert len(staying) <= max(self.total + self.limits["maxSurge"], there)
        in_place = 1 if self.gpus < 100 else 0
        floor = self.total - max(self.limits["maxUnavailable"], in_place)
        least = 0 if self.limits["allowDowntime"] else 1
        assert sum(map(is_ready, staying)) >= min(ready, max(floor, least))
        self._live()
        self.now += timedelta(seconds=60)
        self.tick()

    def _live(self) -> None:
        free = self.gpus - sum(map(is_ready, self.pods.values()))
        for pod in self.staying():
            new = revision(pod) > 1
            if new and is_ready(pod) and self.fate == "flaps" and self.chance.random() < 0.7:
                self._get_unready(pod)
            elif is_ready(pod):
                continue
            elif free <= 0:
                pod["status"]["conditions"] = [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
                ]
            elif not new or self._starts(pod):
                free -= 1
                pod["status"] = {}
                self.get_ready(pod)

    def _starts(self, pod: Object) -> bool:
        crashes = self.fate == "crashes" or (
            self.fate == "half" and int(pod["metadata"]["uid"][-1]) % 2 == 0
        )
        if crashes:
            self.fail(pod)
        return not crashes and self.fate != "never" and self.chance.random() < 0.8

    def _get_unready(self, pod: Object) -> None:
        since = self.now.isoformat()
        pod["status"]["conditions"] = [
            {"type": "Ready", "status": "False", "lastTransitionTime": since}
        ]

    def happen(self, what: str, value: object) -> None:
        match what, value:
            case "scale", int(replicas):
                self.change(replicas=replicas)
            case "annotate", str() | None as said:
                self.annotate(said)
            case "forget", int(looks):
                self.parent["status"] = copy.deepcopy((self.past[-looks:] or [{}])[0])
            case "prometheus", bool(up):
                self.up = up
            case _:
                self.watched = None  # nothing has been asked yet
                self.verdict = None


NUMBERS: dict[Fate, Numbers] = {
    "bad": Numbers(errors=0.4),
    "unknown": Numbers(errors=None, ttft=None),
    "idle": Numbers(errors=None, ttft=None, requests=0),
}


@settings(max_examples=12, deadline=None)
@given(
    fate=st.sampled_from(Fate.__args__),  # type: ignore[attr-defined]
    replicas=st.integers(1, 6),
    bound=bounds,
    spare=st.sampled_from([0, 1, PLENTY]),
    happens=happenings,
    seed=st.integers(0, 2**16),
)
def test_a_rollout_keeps_its_bounds_and_ends(
    fate: Fate, replicas: int, bound: Object, spare: int, happens: Happens, seed: int
) -> None:
    limits = {
        **bound,
        "unschedulableSeconds": 120,
        "progressDeadlineSeconds": 600,
        "canary": {"deadlineSeconds": 600},
    }
    life = Life(service(replicas=replicas, rollout=limits), fate=fate, gpus=100)
    life.settle()
    life.tick()
    life.chance.seed(seed)
    life.offered = 0.0 if fate == "idle" else 10.0
    if fate in NUMBERS:
        life.says[2] = NUMBERS[fate]
    scales = [value for _, (_, value) in happens if isinstance(value, int)]
    life.gpus = 100 if spare == PLENTY else max(replicas, *scales, 1) + spare
    life.change(engine={"type": "vLLM", "model": "m", "maxNumSeqs": 16})

    failed = False
    for minute in range(110):
        for at, (what, value) in happens:
            if at == minute:
                life.happen(what, value)
        if minute == 60 and fate == "flaps":
            life.fate = "good"
        asked = life.deployed().get(2, 0)
        life.minute()
        if failed:
            assert life.deployed().get(2, 0) <= asked
            assert life.parent["status"]["revision"] == "chat-1"
        stored = life.children.get((names.CONTROLLER_REVISION.kind, "chat-2"))
        failed = stored is not None and names.LABEL_FAILED in stored["metadata"]["labels"]

    status = life.parent["status"]
    if "rollout" not in status:  # its end was forgotten
        assert status["revision"] == status["stableRevision"]
        return
    told = life.rollout
    half_way = told["step"] == "All" and fate == "half"  # some pods serve, some never will
    assert told["state"] in ENDS or half_way
    assert told["message"]
    if told["state"] in ("Done", "RolledBack"):
        assert sum(life.deployed().values()) == life.total
    if told["state"] != "Done":
        assert condition(life.parent, "Ready")["status"] == "False"
        assert any(is_ready(pod) for pod in life.staying())
    if fate in ("bad", "never", "crashes"):
        assert told["state"] != "Done" or told["message"].startswith("all pods")
