"""A rollout is judged while it goes on, and goes back by itself, without a failed request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from e2e.support.automation import Automation, quick
from e2e.support.fixtures import Serve
from e2e.support.fleet import Fleet
from e2e.support.gpus import RESOURCE
from e2e.support.kube import Kube
from e2e.support.load import Load, running, steady
from e2e.support.services import MODEL
from e2e.support.wait import NotYetError, until

# The defaults are three samples of a minute.  A machine of many small pods is not even: what is
# slow here is ten times as slow.
JUDGED: dict[str, Any] = {
    "canary": {
        "sampleSeconds": 3,
        "samples": 2,
        "minRequests": 5,
        "maxSlowerPercent": 200,
        "deadlineSeconds": 90,
    }
}


def twelve_a_second(fleet: Fleet) -> Load:
    return steady(fleet.url, MODEL, 12, stream="mixed", max_tokens=8)


def test_a_slow_revision_goes_back_without_a_failed_request(serve: Serve, clients: Kube) -> None:
    fleet = serve(replicas=2, rollout=JUDGED)
    before = fleet.pods()
    arguments = fleet.object()["spec"]["engine"]["args"]

    with running(clients, twelve_a_second(fleet)) as load:
        fleet.patch_spec(engine={"args": [*arguments, "--fail-slow-factor=10"]})
        told = fleet.wait_for("Ready", "False", within_seconds=120, saying=["RolledBack"])
        until("the stable revision alone", lambda: alone(fleet, 1), within_seconds=120)
        account = load.stop()

    print(f"{told['reason']}: {told['message']}")
    assert account.failures == []
    assert fleet.pods() == before  # the judged pod came on top of them
    assert Automation(fleet).status()["rollout"]["state"] == "RolledBack"
    assert fleet.object()["spec"]["engine"]["args"][-1] == "--fail-slow-factor=10"  # the user's


def test_all_pods_ill_after_a_rollout_go_back_together(serve: Serve, clients: Kube) -> None:
    # Both pods need enough requests in the window to be known ill, before either is the one.
    errors = quick("errors", preset="ErrorRate", confirmSeconds=5, minSamples=20)
    fleet = serve(replicas=2, rollout=JUDGED, alertActions=[errors])
    automation = Automation(fleet)
    arguments = fleet.object()["spec"]["engine"]["args"]
    # Good in every sample, until somebody asks for what it cannot do.
    fragile = ["--fail-error-percent=100", "--fail-on-prompt=poison"]

    with running(clients, twelve_a_second(fleet)):
        fleet.patch_spec(engine={"args": [*arguments, *fragile]})
        until("the new revision alone", lambda: alone(fleet, 2), within_seconds=180)
        fleet.wait_ready(2)
        automation.wait_rule("errors", "Healthy", within_seconds=120)
        with running(clients, replace(twelve_a_second(fleet), question="poison")):
            told = fleet.wait_for("Ready", "False", within_seconds=120, saying=["RolledBack"])
            until("the stable revision alone", lambda: alone(fleet, 1), within_seconds=120)
            automation.wait_rule("errors", "Healthy", within_seconds=120)

    print(f"{told['reason']}: {told['message']}")
    assert {one["action"] for one in automation.history()} == {"Rollback"}  # none restarted


def test_one_replica_without_a_spare_gpu(serve: Serve, one_gpu: None) -> None:
    fleet = serve(
        gpu={"count": 1, "resourceName": RESOURCE},
        rollout={"canary": {"deadlineSeconds": 3}, "unschedulableSeconds": 3},
    )
    arguments = fleet.object()["spec"]["engine"]["args"]

    fleet.patch_spec(engine={"args": [*arguments, "--max-num-seqs=32"]})
    told = fleet.wait_for("Ready", "False", within_seconds=120, saying=[RESOURCE])
    print(f"{told['reason']}: {told['message']}")
    fleet.wait_for("Available", within_seconds=30)  # the one that has the GPU keeps it

    fleet.patch_spec(rollout={"allowDowntime": True})
    (pod,) = fleet.wait_ready(1, within_seconds=120)
    assert pod.revision == 2


def alone(fleet: Fleet, revision: int) -> None:
    """Two pods of this revision are ready, and there is no other."""
    pods = fleet.pods()
    if len(pods) != 2 or not all(pod.ready and pod.revision == revision for pod in pods):
        raise NotYetError(f"{[(pod.revision, pod.ready) for pod in pods]}")
