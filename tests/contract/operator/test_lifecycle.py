"""A service from its first apply to its end, as a user and the API server see it."""

from __future__ import annotations

from tests.support.eventually import eventually, never
from tests.support.kube import Kube, Object
from tests.support.operator_process import OperatorProcess
from tests.support.services import (
    addresses,
    condition,
    conditions,
    pods,
    service,
    settings_hash,
)
from tests.support.sidecars import Sidecars

CHILDREN = [
    ("ControllerRevision", "chat-1"),
    ("Deployment", "chat-1"),
    ("ConfigMap", "chat-1-live"),
    ("Service", "chat"),
    ("PodDisruptionBudget", "chat"),
    ("NetworkPolicy", "chat"),
]


def settle(kube: Kube, sidecars: Sidecars, namespace: str, replicas: int = 1) -> None:
    """Wait until all pods are ready, have them confirm their settings, and wait for Ready."""

    def all_there() -> list[str]:
        found = addresses(pods(kube, namespace))
        return found if len(found) == replicas else []

    sidecars.says(eventually(all_there), settings_hash(kube, namespace))
    eventually(lambda: condition(kube, namespace, "Ready") == ("True", "AsSpecified"))


def test_apply_makes_every_child_and_delete_leaves_nothing(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    made = kube.apply(service(namespace, replicas=2))
    with Sidecars() as sidecars:
        settle(kube, sidecars, namespace, replicas=2)
    for kind, name in CHILDREN:
        (owner,) = kube.need(kind, namespace, name)["metadata"]["ownerReferences"]
        assert owner["uid"] == made["metadata"]["uid"]
        assert owner["controller"] is True
    said = kube.need("BatchInferenceService", namespace, "chat")
    assert "finalizers" not in said["metadata"]
    assert "annotations" not in said["metadata"]
    assert (said["status"]["replicas"], said["status"]["readyReplicas"]) == (2, 2)
    assert {event["reason"] for event in events(kube, namespace)} >= {"RevisionCut", "Serving"}

    operator.stop()  # nobody is needed for a service to go
    kube.delete("BatchInferenceService", namespace, "chat")
    eventually(lambda: not any(kube.get(kind, namespace, name) for kind, name in CHILDREN))
    eventually(lambda: not pods(kube, namespace))


def test_a_settled_service_costs_no_call(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    with Sidecars() as sidecars:
        kube.apply(service(namespace))
        settle(kube, sidecars, namespace)
        before, asked = operator.rests(), sidecars.asked
        never(lambda: operator.api_calls() != before, for_seconds=4)
        assert sidecars.asked == asked

        # Nobody wakes for a status that somebody else touched, nor writes it again.
        kube.patch(
            "BatchInferenceService", namespace, "chat", {"status": {"readyReplicas": 7}}, "status"
        )
        never(lambda: operator.api_calls() != before, for_seconds=2)


def test_a_child_that_drifts_is_put_back(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    kube.apply(service(namespace))
    eventually(lambda: condition(kube, namespace, "Available")[0] == "True")
    wanted = {kind: kube.need(kind, namespace, name) for kind, name in CHILDREN}

    kube.patch("Deployment", namespace, "chat-1", {"spec": {"replicas": 5, "paused": True}})
    kube.patch("Service", namespace, "chat", {"spec": {"selector": {"app": "mine"}}})
    kube.patch("ConfigMap", namespace, "chat-1-live", {"data": {"settings.json": "{}"}})
    kube.delete("NetworkPolicy", namespace, "chat")
    label = {"metadata": {"labels": {"batchfleet.io/service": None}}}
    kube.patch("PodDisruptionBudget", namespace, "chat", label)

    def is_put_back() -> bool:
        found = {kind: kube.need(kind, namespace, name) for kind, name in CHILDREN}
        assert found["Deployment"]["spec"]["replicas"] == 1
        assert (
            found["Service"]["spec"]["selector"].items()
            >= wanted["Service"]["spec"]["selector"].items()
        )
        assert found["ConfigMap"]["data"] == wanted["ConfigMap"]["data"]
        assert found["NetworkPolicy"]["spec"] == wanted["NetworkPolicy"]["spec"]
        pdb = found["PodDisruptionBudget"]["metadata"]
        assert pdb["labels"] == wanted["PodDisruptionBudget"]["metadata"]["labels"]
        return True

    eventually(is_put_back)


def test_a_name_that_somebody_holds_is_left_alone_and_told(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    theirs = kube.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "chat", "namespace": namespace},
            "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 5432}]},
        }
    )
    kube.apply(service(namespace))
    eventually(lambda: condition(kube, namespace, "Ready") == ("False", "NameConflict"))
    assert "Service" in conditions(kube, namespace)["Ready"][2]
    assert kube.need("Service", namespace, "chat")["metadata"] == theirs["metadata"]

    kube.delete("Service", namespace, "chat")
    eventually(lambda: kube.get("Service", namespace, "chat"), within_seconds=120)
    eventually(lambda: condition(kube, namespace, "Ready")[1] != "NameConflict")


def test_the_scale_subresource_scales(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    kube.apply(service(namespace))
    eventually(lambda: len(pods(kube, namespace)) == 1)
    kube.patch("BatchInferenceService", namespace, "chat", {"spec": {"replicas": 3}}, "scale")
    eventually(lambda: len(pods(kube, namespace)) == 3)

    def scale() -> Object:
        found = kube.need("BatchInferenceService", namespace, "chat")["status"]
        return found if found["replicas"] == 3 else {}

    selector = eventually(scale)["selector"]
    assert len(kube.list("Pod", namespace, selector)) == 3
    kube.patch("BatchInferenceService", namespace, "chat", {"spec": {"replicas": 0}}, "scale")
    eventually(lambda: not pods(kube, namespace))


def test_a_live_change_reaches_the_sidecars_and_restarts_nothing(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    with Sidecars() as sidecars:
        kube.apply(service(namespace, batching={"maxBatchSize": 8}))
        settle(kube, sidecars, namespace)
        (pod,) = pods(kube, namespace)
        old = settings_hash(kube, namespace)

        kube.apply(service(namespace, batching={"maxBatchSize": 16}))
        new = eventually(lambda: changed(settings_hash(kube, namespace), old))
        eventually(lambda: condition(kube, namespace, "SettingsApplied")[0] == "False")
        annotation = "batchfleet.io/live-settings"

        def told() -> bool:
            (same,) = pods(kube, namespace)
            return bool(same["metadata"].get("annotations", {}).get(annotation) == new)

        eventually(told)
        sidecars.says(addresses([pod]), new)
        eventually(lambda: condition(kube, namespace, "Ready") == ("True", "AsSpecified"))
        (same,) = pods(kube, namespace)
        assert same["metadata"]["uid"] == pod["metadata"]["uid"]


def test_a_pod_template_that_makes_no_pod_is_refused_in_the_servers_words(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    kube.apply(service(namespace))
    eventually(lambda: condition(kube, namespace, "Available")[0] == "True")
    (pod,) = pods(kube, namespace)
    bad = {"spec": {"containers": [{"name": "engine", "imagePullPolicy": "Sometimes"}]}}
    kube.apply(service(namespace, podTemplate=bad))
    eventually(lambda: condition(kube, namespace, "Ready") == ("False", "InvalidPodTemplate"))
    assert 'Unsupported value: "Sometimes"' in conditions(kube, namespace)["Ready"][2]
    (same,) = pods(kube, namespace)
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]
    assert kube.get("ControllerRevision", namespace, "chat-2") is None


def changed(now: str, before: str) -> str:
    """``now``, if it is another; else nothing."""
    return now if now != before else ""


def events(kube: Kube, namespace: str) -> list[Object]:
    return [
        event
        for event in kube.list("Event", namespace)
        if event["involvedObject"]["kind"] == "BatchInferenceService"
    ]
