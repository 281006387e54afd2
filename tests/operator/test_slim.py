"""Less is kept of an object than the server prints, and nothing that anybody reads is missing."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchfleet_operator import byhand, documents
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object, plan_as_yaml
from batchfleet_operator.plan import plan
from batchfleet_operator.scaling.outside import outside_writer
from batchfleet_operator.slim import slim

STORIES = sorted(path.parent for path in Path(__file__).parent.glob("stories/*/service.yaml"))
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.name)
def test_the_plan_is_the_same(story: Path) -> None:
    (service,) = documents.services(story / "service.yaml")
    observed, now = documents.observed(story / "observed.yaml")
    kept = replace(observed, objects=[slim(each) for each in observed.objects])

    told = plan_as_yaml(plan(slim(service), kept, Config(), now))

    assert told == plan_as_yaml(plan(service, observed, Config(), now))


def pod() -> Object:
    container = {"name": "engine", "ready": True, "volumeMounts": [{"name": "shared-memory"}]}
    return {
        "kind": "Pod",
        "metadata": {"name": "chat-1-x", "managedFields": [{"manager": "kubelet"}]},
        "spec": {"containers": [{"name": "engine", "env": [{"name": "A", "value": "b"}]}]},
        "status": {"phase": "Running", "hostIP": "10.0.0.1", "containerStatuses": [container]},
    }


def test_of_a_pod_only_its_state_is_kept() -> None:
    whole = pod()
    before = copy.deepcopy(whole)
    kept = slim(whole)
    assert kept == {
        "kind": "Pod",
        "metadata": {"name": "chat-1-x"},
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": "engine", "ready": True}],
        },
    }
    assert slim(kept) == kept
    assert whole == before


def test_who_scaled_a_deployment_by_hand_is_kept() -> None:
    owned: Object = {"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {}}}}
    deployment = {
        "kind": "Deployment",
        "metadata": {
            "name": "chat-1",
            "managedFields": [
                {"manager": "kubectl", "time": "2026-01-01T11:30:00Z", "fieldsV1": owned},
                {"manager": "kube-controller-manager", "fieldsV1": {"f:status": {}}},
            ],
        },
        "spec": {"replicas": 7},
    }
    kept = slim(deployment)
    assert byhand.scaled(kept, NOW) == byhand.scaled(deployment, NOW) is not None
    assert [each["manager"] for each in kept["metadata"]["managedFields"]] == ["kubectl"]


def test_names_of_fields_are_the_same_objects() -> None:
    first, second = (slim(pod()) for _ in range(2))
    for one, other in zip(first["status"], second["status"], strict=True):
        assert one is other


def test_who_scaled_the_service_itself_is_kept() -> None:
    """Else what is said of it would differ between the store and the server, look after look."""
    whole: Object = {
        "kind": "BatchInferenceService",
        "metadata": {
            "name": "chat",
            "managedFields": [
                {
                    "manager": "kubectl",
                    "subresource": "scale",
                    "time": "2026-01-01T00:00:00Z",
                    "fieldsV1": {"f:spec": {"f:replicas": {}}},
                },
                {"manager": "helm", "fieldsV1": {"f:spec": {"f:engine": {}}}},
            ],
        },
        "spec": {"autoscaling": {"maxReplicas": 3}},
    }
    assert outside_writer(whole) == outside_writer(slim(whole)) == "kubectl"
