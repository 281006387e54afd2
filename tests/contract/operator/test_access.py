"""Callers, their rates, and the way past the sidecars, as the API server and a user see them."""

from __future__ import annotations

from typing import Any

from tests.support.eventually import eventually
from tests.support.kube import Kube
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

BYPASS = "batchfleet.io/bypass"


def annotate(kube: Kube, namespace: str, name: str, value: str | None) -> None:
    change = {"metadata": {"annotations": {name: value}}}
    kube.patch("BatchInferenceService", namespace, "chat", change)


def target_port(kube: Kube, namespace: str) -> int:
    (port,) = kube.need("Service", namespace, "chat")["spec"]["ports"]
    return int(port["targetPort"])


def test_the_annotation_alone_leads_past_the_sidecars_and_back(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    kube.apply(service(namespace, worker={"bypass": "Allowed"}))
    eventually(lambda: condition(kube, namespace, "Available")[0] == "True")
    (pod,) = pods(kube, namespace)
    assert target_port(kube, namespace) == 8080
    assert "Bypassed" not in conditions(kube, namespace)

    annotate(kube, namespace, BYPASS, "true")
    eventually(lambda: target_port(kube, namespace) == 8000)
    eventually(lambda: condition(kube, namespace, "Bypassed") == ("True", "ByAnnotation"))

    def told() -> int:  # an event follows the status
        return sum(each["reason"] == "ByAnnotation" for each in kube.list("Event", namespace))

    eventually(lambda: told() == 1)

    annotate(kube, namespace, BYPASS, None)
    eventually(lambda: target_port(kube, namespace) == 8080)
    eventually(lambda: "Bypassed" not in conditions(kube, namespace))
    assert [each["metadata"]["uid"] for each in pods(kube, namespace)] == [pod["metadata"]["uid"]]


def test_an_annotation_without_leave_is_answered_and_not_followed(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    made = service(namespace)
    made["metadata"]["annotations"] = {BYPASS: "true"}
    kube.apply(made)
    eventually(lambda: condition(kube, namespace, "Bypassed") == ("False", "BypassNotAllowed"))
    assert target_port(kube, namespace) == 8080


def test_only_the_gateway_may_connect_where_its_header_is_believed(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    gateway = {"namespaceLabels": {"kubernetes.io/metadata.name": "edge"}}
    header = {"name": "X-Tenant", "from": [gateway]}
    kube.apply(service(namespace, access={"type": "TrustedHeader", "trustedHeader": header}))
    eventually(lambda: condition(kube, namespace, "Available")[0] == "True")

    def admitted() -> Any:
        (rule, *_) = kube.need("NetworkPolicy", namespace, "chat")["spec"]["ingress"]
        return rule.get("from")

    assert admitted() == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "edge"}}}
    ]
    kube.apply(service(namespace, access={"type": "Open"}))
    eventually(lambda: admitted() is None)
    assert {
        each["metadata"]["labels"]["batchfleet.io/revision"] for each in pods(kube, namespace)
    } == {"2"}


def test_sidecars_without_keys_are_told_of_until_they_have_some(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    kube.apply(service(namespace, access={"type": "APIKeys", "apiKeys": {"secretName": "keys"}}))
    with Sidecars() as sidecars:
        found = eventually(lambda: addresses(pods(kube, namespace)))
        wanted = settings_hash(kube, namespace)
        sidecars.says(found, wanted, "/etc/batchfleet/keys holds no keys")
        eventually(lambda: condition(kube, namespace, "Ready") == ("False", "APIKeysUnusable"))
        assert "Secret keys" in conditions(kube, namespace)["Ready"][2]
        sidecars.says(found, wanted)
        annotate(kube, namespace, "team", "chat")  # wakes the operator, which would look in 30 s
        eventually(lambda: condition(kube, namespace, "Ready") == ("True", "AsSpecified"))


def test_rates_are_divided_by_the_pods_that_are_ready(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    limits = [{"scope": "Service", "requestsPerMinute": 600}]
    kube.apply(service(namespace, requests={"rateLimits": limits}))

    def share_is(rate: float) -> bool:
        text = kube.need("ConfigMap", namespace, "chat-1-live")["data"]["settings.json"]
        return f'"requestsPerMinute": {rate}' in text

    eventually(lambda: condition(kube, namespace, "Available")[0] == "True")
    assert share_is(600.0)
    kube.patch("BatchInferenceService", namespace, "chat", {"spec": {"replicas": 3}}, "scale")
    eventually(lambda: share_is(200.0))
    kube.patch("BatchInferenceService", namespace, "chat", {"spec": {"replicas": 2}}, "scale")
    eventually(lambda: share_is(300.0))
