"""The automation in whole plans: sizes, actions and what keeps them, in a simulated cluster."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from batchfleet_operator import names
from batchfleet_operator.config import Config, Monitoring, PrometheusConfig
from batchfleet_operator.decision import Object
from batchfleet_operator.metering.signals import Reading, Signals, Watched
from tests.operator.simulated import START, SimulatedCluster, condition, service

CONFIG = Config(monitoring=Monitoring(prometheus=PrometheusConfig(url="http://prometheus:9090")))
TICK = timedelta(seconds=15)
QUICK = {"windowSeconds": 10, "confirmSeconds": 30, "verifySeconds": 60, "cooldownSeconds": 60}
SLOW_TOKENS: Object = {
    "name": "slow-tokens",
    "preset": "InterTokenLatency",
    "action": {"type": "ScaleBatchSize", "minBatchSize": 2, "maxBatchSize": 8},
    **QUICK,
}
ERRORS: Object = {"name": "errors", "preset": "ErrorRate", "mode": "Enforce", **QUICK}


def fleet(**spec: Any) -> SimulatedCluster:
    """A service that stands, with its operator watching for an hour already."""
    cluster = SimulatedCluster(service(**spec), config=CONFIG)
    cluster.watched = Watched(since=START - timedelta(hours=1))
    cluster.settle()
    return cluster


def tick(cluster: SimulatedCluster, reading: Reading | None = None, **numbers: Any) -> None:
    """Prometheus is asked once more, and the service is looked at until nothing is left to do."""
    cluster.now += TICK
    known = cluster.watched
    assert known is not None
    said = Signals(at=cluster.now, fresh_pods=len(cluster.staying()), **numbers)
    readings = dict(known.readings)
    if reading is not None:
        for rule in cluster.parent["spec"]["alertActions"]:
            readings[rule["name"]] = [
                *readings.get(rule["name"], ()),
                replace(reading, at=cluster.now),
            ]
    cluster.watched = replace(known, signals=[*known.signals, said][-60:], readings=readings)
    looks(cluster)


def looks(cluster: SimulatedCluster, most: int = 12) -> None:
    for _ in range(most):
        before = copy.deepcopy((cluster.children, cluster.pods, cluster.parent.get("status")))
        cluster.reconcile()
        if before == (cluster.children, cluster.pods, cluster.parent.get("status")):
            return
    raise AssertionError("looks go on without an end")


def live_limit(cluster: SimulatedCluster) -> int:
    text = cluster.children["ConfigMap", "chat-1-live"]["data"][names.LIVE_SETTINGS_KEY]
    limit: int = json.loads(text)["batching"]["maxBatchSize"]
    return limit


def replicas(cluster: SimulatedCluster) -> int:
    count: int = cluster.children["Deployment", "chat-1"]["spec"]["replicas"]
    return count


def slow(value: float | None = 0.2, samples: float | None = 1000) -> Reading:
    return Reading(at=START, value=value, samples=samples)


BUSY: dict[str, Any] = {
    "offered_per_second": 20.0,
    "offered_slope": 0.0,
    "completed_per_second": 4.0,
    "in_flight": 16.0,
    "queued": 40.0,
}


# Size -----------------------------------------------------------------------------------------


def test_work_that_waits_gets_more_pods_and_says_so() -> None:
    cluster = fleet(replicas=2, autoscaling={"minReplicas": 1, "maxReplicas": 8})
    tick(cluster, **BUSY)
    assert replicas(cluster) > 2
    assert cluster.parent["status"]["scaling"]["desiredReplicas"] == replicas(cluster)
    assert condition(cluster.parent, names.SCALING_ACTIVE)["status"] == "True"
    assert names.SIZED_BY_RATE in {event.reason for event in cluster.events}


def test_the_size_is_the_automations_own_and_the_spec_only_where_it_starts() -> None:
    cluster = fleet(replicas=3, autoscaling={"minReplicas": 1, "maxReplicas": 8})
    assert replicas(cluster) == 3
    cluster.change(replicas=7)
    looks(cluster)
    assert replicas(cluster) == 3
    assert cluster.parent["spec"]["replicas"] == 7


def test_without_prometheus_the_fleet_stays_as_it_is() -> None:
    cluster = SimulatedCluster(service(replicas=2, autoscaling={"maxReplicas": 8}))
    cluster.settle()
    assert replicas(cluster) == 2
    assert condition(cluster.parent, names.SCALING_ACTIVE)["status"] == "False"


def test_without_autoscaling_the_spec_says_how_many() -> None:
    cluster = fleet(replicas=2)
    cluster.change(replicas=4)
    cluster.settle()
    assert replicas(cluster) == 4
    assert "scaling" not in cluster.parent["status"]
    told = {each["type"] for each in cluster.parent["status"]["conditions"]}
    assert not told & {names.SCALING_ACTIVE, names.REMEDIATION_ACTIVE}


def test_somebodys_own_number_of_pods_holds_for_an_hour() -> None:
    cluster = fleet(replicas=2, autoscaling={"minReplicas": 1, "maxReplicas": 8})
    tick(cluster, offered_per_second=0.1, in_flight=0.0, queued=0.0)
    deployment = cluster.children["Deployment", "chat-1"]
    deployment["spec"]["replicas"] = 5
    deployment["metadata"]["managedFields"] = [
        {
            "manager": "kubectl",
            "operation": "Update",
            "subresource": "scale",
            "time": cluster.now.isoformat(),
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }
    ]
    edited = copy.deepcopy(deployment["metadata"]["managedFields"])

    def still_edited() -> None:  # a server keeps them through our applies
        cluster.children["Deployment", "chat-1"]["metadata"]["managedFields"] = edited

    still_edited()
    cluster.reconcile()
    assert replicas(cluster) == 5
    told = condition(cluster.parent, names.SCALING_ACTIVE)
    assert (told["status"], told["reason"]) == ("False", names.PAUSED)
    assert "kubectl" in told["message"]
    looks(cluster)
    assert [event.reason for event in cluster.events].count("HeldByHand") == 1
    cluster.now += timedelta(minutes=61)
    still_edited()
    cluster.reconcile()
    assert condition(cluster.parent, names.SCALING_ACTIVE)["reason"] != names.PAUSED


# Actions --------------------------------------------------------------------------------------


def test_slow_tokens_shrink_the_live_batch_and_are_written_down_first() -> None:
    cluster = fleet(alertActions=[{**SLOW_TOKENS, "mode": "Enforce"}])
    assert live_limit(cluster) == 8
    for _ in range(4):
        tick(cluster, slow())
    assert live_limit(cluster) == 6
    status = cluster.parent["status"]
    (intent,) = status["intents"]
    assert (intent["phase"], intent["old"], intent["new"]) == ("Verifying", 8, 6)
    assert status["effective"]["source"] == "AlertAction"
    assert status["automatic"]["maxBatchSize"] == 6


def test_an_action_is_not_done_in_the_look_that_decides_it() -> None:
    cluster = fleet(alertActions=[{**SLOW_TOKENS, "mode": "Enforce"}])
    for _ in range(2):
        tick(cluster, slow())
    known = cluster.watched
    assert known is not None
    cluster.now += TICK
    newest = replace(slow(), at=cluster.now)
    readings = {"slow-tokens": [*known.readings["slow-tokens"], newest]}
    cluster.watched = replace(known, readings=readings)
    decided = cluster.plan()
    assert decided.status["intents"][0]["phase"] == "Acting"
    assert "automatic" not in decided.status
    again = cluster.plan()  # the operator died before it wrote the status
    assert again.status["intents"] == decided.status["intents"]
    looks(cluster)
    assert live_limit(cluster) == 6


def test_observing_changes_nothing_and_tells_once() -> None:
    cluster = fleet(alertActions=[SLOW_TOKENS])
    for _ in range(8):
        tick(cluster, slow())
    assert live_limit(cluster) == 8
    assert "intents" not in cluster.parent["status"]
    (told,) = cluster.parent["status"]["history"]
    assert told["outcome"] == "Observed"


@pytest.mark.parametrize("where", ["service", "namespace", "spec"])
def test_a_pause_holds_actions_and_size(where: str) -> None:
    cluster = fleet(
        replicas=2,
        autoscaling={"minReplicas": 1, "maxReplicas": 8},
        alertActions=[{**SLOW_TOKENS, "mode": "Enforce"}],
    )
    if where == "service":
        cluster.parent["metadata"]["annotations"] = {names.ANNOTATION_AUTOMATION: "paused"}
    elif where == "namespace":
        cluster.namespace = {names.ANNOTATION_AUTOMATION: "paused"}
    else:
        cluster.change(paused=True)
    for _ in range(6):
        tick(cluster, slow(), **BUSY)
    assert (live_limit(cluster), replicas(cluster)) == (8, 2)
    assert condition(cluster.parent, names.SCALING_ACTIVE)["reason"] == names.PAUSED
    assert "intents" not in cluster.parent["status"]


def test_numbers_that_are_missing_do_nothing() -> None:
    cluster = fleet(alertActions=[{**SLOW_TOKENS, "mode": "Enforce"}])
    for _ in range(8):
        tick(cluster, slow(value=None, samples=None))
    assert live_limit(cluster) == 8
    (rule,) = cluster.parent["status"]["rules"]
    assert rule["state"] == "Inconclusive"


def test_the_one_sick_pod_is_deleted_and_no_other() -> None:
    cluster = fleet(replicas=3, alertActions=[ERRORS])
    sick, *well = (pod["metadata"]["name"] for pod in cluster.staying())
    shares = {sick: 0.9} | dict.fromkeys(well, 0.0)
    reading = Reading(
        at=START, value=0.3, samples=900, by_pod=shares, samples_by_pod=dict.fromkeys(shares, 300)
    )
    for _ in range(6):
        tick(cluster, reading)
    leaving = [n for n, pod in cluster.pods.items() if "deletionTimestamp" in pod["metadata"]]
    assert leaving == [sick]


def test_a_cluster_whose_crd_drops_intents_never_acts() -> None:
    cluster = fleet(alertActions=[{**SLOW_TOKENS, "mode": "Enforce"}])
    cluster.drops = "intents"
    for _ in range(8):
        tick(cluster, slow())
    assert live_limit(cluster) == 8


def test_a_quiet_fleet_is_a_fixed_point_between_and_across_ticks() -> None:
    cluster = fleet(
        replicas=2,
        autoscaling={"minReplicas": 2, "maxReplicas": 8},
        alertActions=[{**SLOW_TOKENS, "mode": "Enforce"}],
    )
    for step in range(6):
        rate = 0.2 + step / 100  # numbers that move a little
        tick(cluster, slow(value=0.02), offered_per_second=rate, in_flight=1.0, queued=0.0)
    before = copy.deepcopy(cluster.parent["status"])
    tick(cluster, slow(value=0.021), offered_per_second=0.3, in_flight=1.2, queued=0.0)
    assert cluster.parent["status"] == before
