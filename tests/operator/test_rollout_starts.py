"""Rollouts judged by what the pods do: failed starts, deadlines, no spare GPU, alerts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest

from batchfleet_operator import names, revisions
from batchfleet_operator.api import BatchInferenceService
from batchfleet_operator.decision import Object
from batchfleet_operator.observed import Fleet
from batchfleet_operator.problems import failed_starts
from batchfleet_operator.rollouts import rollout
from batchfleet_operator.rollouts.stages import Orders
from tests.operator.judged import revision
from tests.operator.simulated import (
    SimulatedCluster,
    condition,
    deployments,
    engine,
    is_ready,
    service,
)


@dataclass
class Cluster(SimulatedCluster):
    """With only so many GPUs: a pod that finds none waits for one."""

    gpus: int = 100

    def round(self, seconds: int = 14) -> None:
        self.reconcile()
        self.controllers()
        free = self.gpus - sum(map(is_ready, self.pods.values()))  # leaving ones hold theirs too
        for pod in self.staying():
            if is_ready(pod):
                continue
            if free > 0:
                self.get_ready(pod)
                free -= 1
            elif not pod["status"].get("conditions"):
                pod["status"]["conditions"] = [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu",
                    }
                ]
        self.now += timedelta(seconds=seconds)


def changed(gpus: int = 100, **spec: object) -> Cluster:
    cluster = Cluster(service("chat", **spec), gpus=gpus)
    cluster.settle()
    cluster.change(engine=engine(maxNumSeqs=16))
    return cluster


def crash(pod: Object, *, restarts: int) -> None:
    """The engine has ended once more than it was restarted."""
    pod["status"] = {
        "containerStatuses": [
            {
                "name": names.ENGINE,
                "ready": False,
                "restartCount": restarts,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": {"exitCode": 1, "message": "no such flag"}},
            }
        ]
    }


def test_two_failed_starts_go_back_without_any_metrics() -> None:
    cluster = changed(replicas=2)
    for restarts, deployed in ((0, {"chat-1": 2, "chat-2": 1}), (1, {"chat-1": 2})):
        for _ in range(6):
            cluster.reconcile()
            cluster.controllers()
            for pod in cluster.staying():
                if revision(pod) == 2:
                    crash(pod, restarts=restarts)
        assert deployments(cluster) == deployed
    ready = condition(cluster.parent, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", names.ROLLED_BACK)
    assert "no such flag" in ready["message"]
    assert condition(cluster.parent, "Available")["status"] == "True"


def test_the_first_revision_never_goes_back() -> None:
    cluster = Cluster(service(replicas=2))
    for _ in range(10):
        cluster.reconcile()
        cluster.controllers()
        for pod in cluster.staying():
            crash(pod, restarts=5)
        cluster.now += timedelta(hours=1)
    assert deployments(cluster) == {"chat-1": 2}
    assert condition(cluster.parent, "Ready")["reason"] == names.CONTAINER_FAILED
    assert "rollout" not in cluster.parent["status"]


def test_a_pod_that_served_and_crashed_is_not_a_failed_start() -> None:
    cluster = changed(replicas=3)
    cluster.round()
    cluster.round()
    for pod in cluster.staying():
        if revision(pod) == 2 and is_ready(pod):
            crash(pod, restarts=3)
    for _ in range(5):
        cluster.reconcile()
    assert condition(cluster.parent, "Ready")["reason"] != names.ROLLED_BACK


@pytest.mark.parametrize(
    ("status", "metadata", "count"),
    [
        ({}, {}, 0),
        ({"phase": "Failed"}, {}, 1),
        ({"initContainerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}, {}, 0),
        ({"containerStatuses": [{"state": {"terminated": {"exitCode": 1}}}]}, {}, 1),
        ({"containerStatuses": [{"restartCount": 1, "state": {"running": {}}}]}, {}, 1),
        (
            {
                "containerStatuses": [
                    {"restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
                ]
            },
            {},
            2,
        ),
        (
            {"containerStatuses": [{"state": {"terminated": {"exitCode": 143}}}]},
            {"deletionTimestamp": "now"},
            0,
        ),
    ],
)
def test_how_often_a_pod_has_failed_to_start(status: Object, metadata: Object, count: int) -> None:
    for container in (
        *status.get("containerStatuses", ()),
        *status.get("initContainerStatuses", ()),
    ):
        container["name"] = "engine"
    assert failed_starts({"metadata": {"name": "p", **metadata}, "status": status}) == count


def test_a_pod_that_never_gets_ready_goes_back_after_the_progress_deadline() -> None:
    cluster = changed(replicas=2, rollout={"progressDeadlineSeconds": 60})
    cluster.reconcile()
    cluster.controllers()
    made = cluster.reconcile()
    assert made.again_in_seconds is not None
    assert made.again_in_seconds <= 60
    cluster.now += timedelta(seconds=60)
    for _ in range(5):
        cluster.reconcile()
        cluster.controllers()
    assert deployments(cluster) == {"chat-1": 2}
    assert "is not ready after 60 seconds" in condition(cluster.parent, "Ready")["message"]


def test_without_a_spare_gpu_pods_are_swapped_in_place_after_a_while() -> None:
    cluster = changed(gpus=3, replicas=3)
    least = 3
    for _ in range(60):
        cluster.round()
        least = min(least, sum(map(is_ready, cluster.staying())))
        if cluster.now.minute < 5:
            assert least == 3  # a node may come
    assert deployments(cluster) == {"chat-2": 3}
    assert least == 2
    assert condition(cluster.parent, "Ready")["status"] == "True"


def test_one_replica_without_a_spare_gpu_stays_and_says_what_to_do() -> None:
    cluster = changed(gpus=1, replicas=1)
    for _ in range(200):  # far beyond the progress deadline: it is nobody's fault
        cluster.round()
        assert sum(map(is_ready, cluster.staying())) == 1
    assert deployments(cluster) == {"chat-1": 1, "chat-2": 1}
    ready = condition(cluster.parent, "Ready")
    assert ready["reason"] == names.UNSCHEDULABLE
    assert "rollout.allowDowntime: true" in ready["message"]
    assert "Insufficient nvidia.com/gpu" in ready["message"]
    cluster.gpus = 2  # and when somebody adds one, it goes on
    for _ in range(10):
        cluster.round()
    assert deployments(cluster) == {"chat-2": 1}


def test_one_replica_and_no_surge_says_so_at_once() -> None:
    cluster = changed(replicas=1, rollout={"maxSurge": 0, "maxUnavailable": 1})
    for _ in range(5):
        cluster.round()
    assert deployments(cluster) == {"chat-1": 1, "chat-2": 0}
    ready = condition(cluster.parent, "Ready")
    assert ready["reason"] == names.ROLLOUT_PAUSED
    assert "allowDowntime" in ready["message"]


@pytest.mark.parametrize(
    "bounds", [{"maxSurge": 0, "maxUnavailable": 1}, {"maxSurge": 1, "maxUnavailable": 0}]
)
def test_with_downtime_allowed_one_replica_is_swapped(bounds: Object) -> None:
    cluster = changed(gpus=1, replicas=1, rollout={**bounds, "allowDowntime": True})
    for _ in range(40):
        cluster.round()
    assert deployments(cluster) == {"chat-2": 1}


def ordered(cluster: Cluster, orders: Orders) -> rollout.Split:
    """The split as it is when others say something of the rollout."""
    observed = cluster.observe()
    wanted = BatchInferenceService.of(cluster.parent)
    fleet = Fleet.of(wanted.name, wanted.uid, observed)
    choice = revisions.choose(wanted, fleet, cluster.config, cluster.verdict, None, cluster.now)
    before = rollout.remembered(cluster.parent["status"])
    total = wanted.spec.replicas
    return rollout.split(wanted, fleet, choice, before, total, cluster.now, orders)


def test_an_alert_stops_a_rollout_where_it_is() -> None:
    cluster = changed(replicas=4)
    cluster.round()
    cluster.round()
    held = ordered(cluster, Orders(pause="alert X fires"))
    asked = {int(name[-1]): count for name, count in deployments(cluster).items()}
    assert held.replicas == asked
    assert held.status is not None
    assert (held.status.state, held.status.message) == ("Held", "alert X fires")


def test_an_alert_rolls_back_a_rollout_under_way() -> None:
    cluster = changed(replicas=4)
    cluster.round()
    failure = ordered(cluster, Orders(roll_back="alert X")).failure
    assert failure == rollout.Failure(2, "alert X", back_to=1)


def test_an_alert_rolls_back_a_rollout_that_is_over_to_where_it_came_from() -> None:
    cluster = changed(replicas=2)
    for _ in range(20):
        cluster.round()
    assert cluster.parent["status"]["stableRevision"] == "chat-2"
    failure = ordered(cluster, Orders(roll_back="alert X")).failure
    assert failure == rollout.Failure(2, "alert X", back_to=1)


def test_there_is_no_way_back_from_the_first_revision() -> None:
    cluster = Cluster(service(replicas=2))
    cluster.settle()
    assert ordered(cluster, Orders(roll_back="alert X")).failure is None


def test_nor_while_somebody_promotes_it() -> None:
    cluster = changed(replicas=2)
    cluster.parent["metadata"]["annotations"] = {names.ANNOTATION_ROLLOUT: "promote"}
    cluster.round()
    assert ordered(cluster, Orders(roll_back="alert X")).failure is None
