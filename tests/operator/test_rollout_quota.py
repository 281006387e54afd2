"""A quota leaves no room for a pod more: it is waited for like a node, then pods are swapped."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from batchfleet_operator import names
from batchfleet_operator.decision import Object
from tests.operator.simulated import (
    START,
    SimulatedCluster,
    condition,
    deployments,
    engine,
    is_ready,
    service,
)

QUOTA = 'pods "chat-2-abc-x" is forbidden: exceeded quota: gpus, requested: 1, used: 3, limited: 3'


@dataclass
class QuotaCluster(SimulatedCluster):
    """A namespace that may hold only so many pods, leaving ones included."""

    quota: int = 100
    refusal: str = QUOTA

    def round(self, seconds: int = 14) -> None:
        self.reconcile()
        self.controllers()
        for pod in self.staying():
            if not is_ready(pod):
                self.get_ready(pod)
        self.now += timedelta(seconds=seconds)

    def _create_pod(self, owner: str, deployment: Object) -> None:
        conditions = deployment.setdefault("status", {}).setdefault("conditions", [])
        if len(self.pods) < self.quota:
            conditions.clear()
            super()._create_pod(owner, deployment)
        elif not conditions:
            conditions.append(
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": self.refusal,
                    "lastTransitionTime": self.now.isoformat(),
                }
            )

    def _apply(self, wanted: Object) -> None:
        key = wanted["kind"], wanted["metadata"]["name"]
        status = self.children.get(key, {}).get("status")
        super()._apply(wanted)
        if status is not None:
            self.children[key]["status"] = status


def changed(quota: int, refusal: str = QUOTA, **spec: object) -> QuotaCluster:
    cluster = QuotaCluster(service("chat", **spec), quota=quota, refusal=refusal)
    cluster.settle()
    cluster.change(engine=engine(maxNumSeqs=16))
    return cluster


def passes(cluster: QuotaCluster, until: datetime) -> int:
    """The fewest pods that served meanwhile."""
    least = 100
    while cluster.now < until:
        cluster.round()
        least = min(least, sum(map(is_ready, cluster.staying())))
    return least


def test_pods_are_swapped_in_place_after_a_while() -> None:
    cluster = changed(quota=3, replicas=3)
    assert passes(cluster, START + timedelta(seconds=290)) == 3  # somebody may raise it
    assert passes(cluster, START + timedelta(minutes=12)) == 2
    assert deployments(cluster) == {"chat-2": 3}
    assert condition(cluster.parent, "Ready")["status"] == "True"


def test_it_is_looked_at_when_that_while_is_over() -> None:
    cluster = changed(quota=3, replicas=3)
    for _ in range(3):
        cluster.round(0)
    wait = cluster.plan().again_in_seconds
    assert wait is not None
    assert 280 < wait <= 300


def test_one_replica_stays_and_says_what_to_do() -> None:
    cluster = changed(quota=1, replicas=1)
    assert passes(cluster, START + timedelta(minutes=40)) == 1
    ready = condition(cluster.parent, "Ready")
    assert ready["status"] == "False"
    assert "exceeded quota" in ready["message"]
    assert "rollout.allowDowntime: true" in ready["message"]
    cluster.change(rollout={"allowDowntime": True})
    passes(cluster, cluster.now + timedelta(minutes=2))
    assert deployments(cluster) == {"chat-2": 1}


def test_a_pod_that_would_be_refused_anyway_costs_no_stable_one() -> None:
    refused = 'admission webhook "policy" denied the request: images must be signed'
    cluster = changed(quota=3, refusal=refused, replicas=3)
    assert passes(cluster, START + timedelta(minutes=40)) == 3
    ready = condition(cluster.parent, "Ready")
    assert ready["reason"] == names.PODS_REFUSED
    assert "images must be signed" in ready["message"]
