"""Whole plans against a simulated cluster: what a user would see happen."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchfleet_operator import names
from batchfleet_operator.api import Status
from batchfleet_operator.decision import Object
from batchfleet_operator.plan import plan
from tests.operator.simulated import (
    SimulatedCluster,
    condition,
    deployments,
    engine,
    is_ready,
    service,
)


def test_a_new_service_gets_all_its_children_and_becomes_ready() -> None:
    cluster = SimulatedCluster(service(replicas=3))
    cluster.reconcile()
    assert set(cluster.children) == {
        ("ControllerRevision", "chat-1"),
        ("ConfigMap", "chat-1-live"),
        ("Service", "chat"),
        ("PodDisruptionBudget", "chat"),
        ("NetworkPolicy", "chat"),
        ("Deployment", "chat-1"),
        ("PodMonitor", "chat"),
    }
    assert condition(cluster.parent, "Ready")["reason"] == names.ROLLING_OUT
    cluster.settle()
    status = cluster.parent["status"]
    assert {each["type"]: each["status"] for each in status["conditions"]} == dict.fromkeys(
        ("Ready", "Available", "Progressing", "ModelReady", "SettingsApplied"), "True"
    )
    assert (status["replicas"], status["readyReplicas"]) == (3, 3)
    assert status["revision"] == status["stableRevision"] == "chat-1"


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 4),
        "engine": st.builds(engine, maxNumSeqs=st.integers(4, 6)),
        "batching": st.fixed_dictionaries({"maxBatchSize": st.integers(1, 8)}),
        "access": st.sampled_from(
            [
                {"type": "Open"},
                {"type": "APIKeys", "apiKeys": {"secretName": "keys"}},
                {
                    "type": "TrustedHeader",
                    "trustedHeader": {"name": "X", "from": [{"podLabels": {"a": "b"}}]},
                },
            ]
        ),
        "worker": st.sampled_from([{}, {"bypass": "Allowed"}]),
        "requests": st.fixed_dictionaries(
            {"rateLimits": st.just(({"scope": "Service", "requestsPerMinute": 100},))}
        ),
        "rollout": st.sampled_from(
            [
                {"maxSurge": 1, "maxUnavailable": 0},
                {"maxSurge": 0, "maxUnavailable": 1, "allowDowntime": True},
                {"maxSurge": 2, "maxUnavailable": 2},
            ]
        ),
    },
)


@settings(max_examples=60, deadline=None)
@given(
    changes=st.lists(CHANGES, max_size=4), seed=st.integers(0, 2**16), past_sidecars=st.booleans()
)
def test_any_history_settles_at_a_fixed_point(
    changes: list[Object], seed: int, past_sidecars: bool
) -> None:
    chance = random.Random(seed)
    cluster = SimulatedCluster(service(replicas=2))
    if past_sidecars:
        cluster.parent["metadata"]["annotations"] = {names.ANNOTATION_BYPASS: "true"}
    for change in changes:
        cluster.change(**change)
        for _ in range(chance.randrange(6)):  # …and the next change comes in the middle of it
            cluster.reconcile()
            cluster.controllers()
            for pod in cluster.staying():
                if chance.random() < 0.4:
                    cluster.get_ready(pod)
    cluster.settle()

    again = cluster.plan()
    told = {(each["kind"], each["metadata"]["name"]): each for each in again.apply}
    there = copy.deepcopy(cluster.children)
    for each in there.values():
        del each["metadata"]["uid"]
    assert told == there
    assert again.status == cluster.parent["status"]
    assert Status.parse(again.status).as_json() == again.status  # nothing that the CRD would drop
    assert [again.patch, again.delete, again.events] == [[], [], []]
    assert again.dry_run is None
    assert again.again_in_seconds is None
    total = cluster.parent["spec"]["replicas"]
    assert list(deployments(cluster).values()) == [total]
    assert condition(cluster.parent, "Ready")["status"] == "True"


def test_a_live_change_restarts_no_pod_and_is_confirmed() -> None:
    cluster = SimulatedCluster(service(replicas=2))
    cluster.settle()
    pods = set(cluster.pods)
    cluster.change(batching={"maxBatchSize": 4})
    seen = cluster.reconcile()
    assert condition(cluster.parent, "SettingsApplied")["reason"] == names.APPLYING
    assert seen.again_in_seconds == 1.0
    assert {patch.pod.name for patch in seen.patch} == pods
    cluster.settle()
    assert set(cluster.pods) == pods
    assert condition(cluster.parent, "SettingsApplied")["status"] == "True"
    effective = cluster.parent["status"]["effective"]
    assert (effective["maxBatchSize"], effective["source"]) == (4, "MaxBatchSize")


def test_pods_that_stay_silent_are_asked_less_and_less() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    (uid,) = cluster.running
    cluster.running[uid] = "another"
    waits = []
    for seconds in (0, 10, 60, 600):
        cluster.now += timedelta(seconds=seconds)
        made = cluster.plan()
        cluster.parent["status"] = made.status
        waits.append(made.again_in_seconds)
    assert waits == [1.0, 2.5, 17.5, 30.0]


def test_a_pod_that_takes_too_long_is_named() -> None:
    cluster = SimulatedCluster(service(rollout={"progressDeadlineSeconds": 60}))
    cluster.reconcile()
    cluster.controllers()
    made = cluster.reconcile()
    assert made.again_in_seconds == 60
    cluster.now += timedelta(seconds=60)
    cluster.reconcile()
    (pod,) = cluster.pods
    for type_ in ("Progressing", "Ready"):
        told = condition(cluster.parent, type_)
        assert (told["status"], told["reason"]) == ("False", names.PROGRESS_DEADLINE_EXCEEDED)
        assert pod in told["message"]


def test_scaled_to_zero_is_as_asked_but_not_available() -> None:
    cluster = SimulatedCluster(service(replicas=2))
    cluster.settle()
    cluster.change(replicas=0)
    cluster.settle()
    assert not cluster.pods
    assert condition(cluster.parent, "Ready")["reason"] == names.SCALED_TO_ZERO
    assert condition(cluster.parent, "Available")["status"] == "False"
    assert cluster.parent["status"]["stableRevision"] == "chat-1"


def test_paused_changes_nothing_but_status() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    cluster.change(paused=True)
    cluster.settle()
    assert condition(cluster.parent, "Ready")["status"] == "True"
    before = copy.deepcopy(cluster.children)
    cluster.change(engine=engine(maxNumSeqs=9), replicas=5, batching={"maxBatchSize": 2})
    made = cluster.reconcile()
    assert cluster.children == before
    assert [*made.apply, *made.patch, *made.delete] == []
    assert condition(cluster.parent, "Ready")["reason"] == names.PAUSED
    cluster.change(paused=False)
    cluster.settle()
    assert deployments(cluster) == {"chat-2": 5}


def test_what_drifted_is_put_back() -> None:
    cluster = SimulatedCluster(service(replicas=2))
    cluster.settle()
    before = copy.deepcopy(cluster.children)
    cluster.children["Service", "chat"]["spec"]["selector"] = {"app": "other"}
    cluster.children["Deployment", "chat-1"]["spec"]["replicas"] = 7
    cluster.settle()
    assert cluster.children == before


def test_a_lost_child_is_made_again_even_the_stored_revision() -> None:
    cluster = SimulatedCluster(service(replicas=2))
    cluster.settle()
    for key in (("Service", "chat"), ("ConfigMap", "chat-1-live")):
        del cluster.children[key]
    cluster.settle()
    assert ("ConfigMap", "chat-1-live") in cluster.children
    # Without its ControllerRevision nobody knows the inputs: a new one rolls, none is cut short.
    del cluster.children["ControllerRevision", "chat-1"]
    for _ in range(20):
        cluster.reconcile()
        cluster.controllers()
        assert sum(map(is_ready, cluster.staying())) >= 2
        for pod in cluster.staying():
            cluster.get_ready(pod)
    assert deployments(cluster) == {"chat-2": 2}


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "NetworkPolicy"])
def test_what_somebody_else_has_is_left_alone_and_named(kind: str) -> None:
    theirs = {"kind": kind, "metadata": {"name": "chat", "uid": "theirs"}, "spec": {"mine": True}}
    cluster = SimulatedCluster(service(), children={(kind, "chat"): theirs})
    cluster.settle()
    assert cluster.children[kind, "chat"] == theirs
    ready = condition(cluster.parent, "Ready")
    assert ready["reason"] == names.NAME_CONFLICT
    assert f"{kind} chat" in ready["message"]
    del cluster.children[kind, "chat"]
    cluster.settle()
    assert condition(cluster.parent, "Ready")["status"] == "True"


def test_children_of_a_deleted_namesake_are_not_taken_over() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    cluster.parent["metadata"]["uid"] = "another"  # deleted and made again; the old ones linger
    made = cluster.plan()
    assert not made.delete
    told = {each["type"]: each for each in made.status["conditions"]}["Ready"]
    assert told["reason"] == names.NAME_CONFLICT


def test_a_service_on_its_way_out_is_left_to_the_garbage_collector() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    cluster.parent["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    made = cluster.plan()
    assert [*made.apply, *made.delete, *made.patch, *made.events] == []
    assert made.status == cluster.parent["status"]


def test_a_spec_of_a_newer_crd_is_told_of_and_changes_nothing() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    cluster.change(ofTomorrow={"maxReplicas": 3})
    made = cluster.plan()
    assert [*made.apply, *made.delete, *made.patch] == []
    told = {each["type"]: each for each in made.status["conditions"]}
    assert told["Ready"]["reason"] == names.INVALID_SPEC
    assert "spec.ofTomorrow" in told["Ready"]["message"]
    assert told["Available"]["status"] == "True"


def test_an_older_crd_is_told_of() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    observed = replace(cluster.observe(), pruned="status.effective")
    made = plan(cluster.parent, observed, cluster.config, cluster.now)
    told = {each["type"]: each for each in made.status["conditions"]}["Ready"]
    assert told["reason"] == names.CRD_OUTDATED
    assert "status.effective" in told["message"]


def test_transition_times_move_only_with_the_status() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    before = condition(cluster.parent, "Available")
    cluster.now += timedelta(hours=1)
    cluster.change(replicas=2)
    cluster.settle()
    after = condition(cluster.parent, "Available")
    assert after["lastTransitionTime"] == before["lastTransitionTime"]
    assert after["observedGeneration"] == 2
