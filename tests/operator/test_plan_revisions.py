"""Which revision runs: when one is cut, kept, refused, and used again; in a simulated cluster."""

from __future__ import annotations

import copy
from datetime import timedelta

from batchfleet_operator import names
from batchfleet_operator.config import Config, Images
from tests.operator.simulated import (
    SimulatedCluster,
    condition,
    deployments,
    engine,
    is_ready,
    revisions,
    service,
)


def test_another_operator_with_other_defaults_restarts_nothing() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    before = copy.deepcopy(cluster.children["Deployment", "chat-1"])
    cluster.config = Config(images=Images(vllm="vllm/vllm-openai:v9", worker="worker:9"))
    cluster.settle()
    assert cluster.children["Deployment", "chat-1"] == before
    assert revisions(cluster) == {"chat-1"}


def test_a_stored_revision_is_compared_as_todays_models_read_it() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    stored = cluster.children["ControllerRevision", "chat-1"]["data"]["inputs"]
    stored["gpu"] = None  # another version wrote unset fields out
    stored["engine"]["image"] = None
    cluster.settle()
    assert revisions(cluster) == {"chat-1"}


def test_a_shorter_request_timeout_is_live_and_a_longer_one_needs_longer_drains() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    cluster.change(requests={"timeoutSeconds": 60})
    cluster.settle()
    assert deployments(cluster) == {"chat-1": 1}
    cluster.change(requests={"timeoutSeconds": 600})
    cluster.settle()
    assert deployments(cluster) == {"chat-2": 1}
    template = cluster.children["Deployment", "chat-2"]["spec"]["template"]
    assert template["spec"]["terminationGracePeriodSeconds"] == 640


def test_going_back_uses_the_old_revision_again() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    cluster.change(engine=engine(maxNumSeqs=16))
    cluster.settle()
    assert deployments(cluster) == {"chat-2": 1}
    cluster.change(engine=engine())
    cluster.settle()
    assert deployments(cluster) == {"chat-1": 1}
    assert revisions(cluster) == {"chat-1", "chat-2"}
    assert cluster.parent["status"]["stableRevision"] == "chat-1"


def test_five_revisions_are_kept() -> None:
    cluster = SimulatedCluster(service())
    for size in range(8, 16):
        cluster.change(engine=engine(maxNumSeqs=size))
        cluster.settle()
    assert revisions(cluster) == {f"chat-{n}" for n in range(4, 9)}


def test_the_stable_revision_outlives_any_number_of_failed_ones() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    for size in range(9, 17):
        cluster.change(engine=engine(maxNumSeqs=size))
        for _ in range(3):
            cluster.reconcile()
            cluster.controllers()
    assert "chat-1" in revisions(cluster)
    assert deployments(cluster)["chat-1"] == 1
    assert cluster.parent["status"]["stableRevision"] == "chat-1"
    assert len(cluster.staying()) == 2


def test_the_stable_revision_is_kept_without_pods_too() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    cluster.change(replicas=0)
    for size in range(9, 17):
        cluster.change(engine=engine(maxNumSeqs=size))
        cluster.settle()
    assert revisions(cluster) == {"chat-1", *(f"chat-{n}" for n in range(6, 10))}


def test_the_old_revision_keeps_its_own_ceiling_during_a_rollout() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    cluster.change(engine=engine(maxNumSeqs=64), batching={"maxBatchSize": 64})
    cluster.reconcile()
    old = cluster.children["ConfigMap", "chat-1-live"]["data"]["settings.json"]
    new = cluster.children["ConfigMap", "chat-2-live"]["data"]["settings.json"]
    assert '"maxBatchSize": 12' in old  # its engine runs 8, and 4 are on their way in or out
    assert '"maxBatchSize": 64' in new


def test_a_refused_pod_template_leaves_the_running_revision_alone() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    before = copy.deepcopy(cluster.children)
    cluster.refuses = 'spec.template.spec.containers[0].image: Invalid value: ""'
    cluster.change(podTemplate={"spec": {"containers": [{"name": "engine", "image": ""}]}})
    made = cluster.reconcile()
    assert cluster.children == before
    ready = condition(cluster.parent, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", names.INVALID_POD_TEMPLATE)
    assert cluster.refuses in ready["message"]
    assert condition(cluster.parent, "Available")["status"] == "True"
    assert made.again_in_seconds == 300
    assert any(event.type == "Warning" for event in made.events)
    asked_at = cluster.verdict
    cluster.now += timedelta(seconds=299)
    cluster.reconcile()
    assert cluster.verdict == asked_at
    cluster.now += timedelta(seconds=1)
    cluster.refuses = None
    cluster.settle()
    assert deployments(cluster) == {"chat-2": 1}


def test_a_first_revision_that_is_refused_makes_no_pods() -> None:
    cluster = SimulatedCluster(service(), refuses="no such field")
    cluster.reconcile()
    assert not deployments(cluster)
    assert "no such field" in condition(cluster.parent, "Progressing")["message"]


def test_scaling_works_while_a_revision_is_refused() -> None:
    cluster = SimulatedCluster(service())
    cluster.settle()
    cluster.refuses = "no"
    cluster.change(engine=engine(maxNumSeqs=9), replicas=3)
    cluster.reconcile()
    assert deployments(cluster) == {"chat-1": 3}


def test_a_rollout_never_serves_with_less_than_before() -> None:
    cluster = SimulatedCluster(service(replicas=3))
    cluster.settle()
    cluster.change(engine=engine(maxNumSeqs=16))
    for _ in range(30):
        cluster.reconcile()
        cluster.controllers()
        staying = cluster.staying()
        assert sum(map(is_ready, staying)) >= 3
        assert len(staying) <= 4
        waiting = [pod for pod in staying if not is_ready(pod)]
        if waiting:
            cluster.get_ready(waiting[0])
    assert deployments(cluster) == {"chat-2": 3}


def test_a_broken_new_revision_leaves_the_old_one_serving() -> None:
    cluster = SimulatedCluster(service(replicas=2))
    cluster.settle()
    cluster.change(engine=engine(extraArgs=["--bad"]), rollout={"autoRollback": False})
    for _ in range(10):
        cluster.reconcile()
        cluster.controllers()
        for pod in cluster.staying():
            if not is_ready(pod):
                cluster.fail(pod)
    assert deployments(cluster) == {"chat-1": 2, "chat-2": 1}
    assert condition(cluster.parent, "Available")["status"] == "True"
    ready = condition(cluster.parent, "Ready")
    assert ready["reason"] == names.CONTAINER_FAILED
    assert "no GPU memory" in ready["message"]
    assert cluster.parent["status"]["stableRevision"] == "chat-1"
    cluster.change(engine=engine(maxNumSeqs=32))
    cluster.settle()
    assert deployments(cluster) == {"chat-3": 2}


def test_a_revision_passes_over_a_number_whose_names_are_taken() -> None:
    theirs = {
        "kind": "Deployment",
        "metadata": {"name": "chat-1", "uid": "theirs"},
        "spec": {"replicas": 0},
    }
    cluster = SimulatedCluster(service(), children={("Deployment", "chat-1"): theirs})
    cluster.settle()
    assert cluster.children["Deployment", "chat-1"] == theirs
    assert cluster.parent["status"]["revision"] == "chat-2"
    assert condition(cluster.parent, "Ready")["status"] == "True"
