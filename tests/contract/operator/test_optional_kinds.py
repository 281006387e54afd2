"""PodMonitor: a kind that a cluster may lack, which is applied where it is and never watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchfleet_operator.census import DISCOVER_SECONDS
from tests.support import simulated
from tests.support.eventually import eventually
from tests.support.kube import API_VERSIONS, Kube, Object
from tests.support.operator_process import OperatorProcess
from tests.support.services import condition, service

POD_MONITORS: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "podmonitors.monitoring.coreos.com",
        # The API server asks for it in a group that Kubernetes' own people keep.
        "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
    },
    "spec": {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": {"kind": "PodMonitor", "plural": "podmonitors", "singular": "podmonitor"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


def test_a_pod_monitor_is_made_where_its_kind_is_and_again_when_it_is_gone(
    kube: Kube, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(API_VERSIONS, "PodMonitor", "monitoring.coreos.com/v1")
    simulated.install_crd(kube, POD_MONITORS)
    try:
        with OperatorProcess(kube, tmp_path, namespace, [namespace]) as operator:
            operator.leads()
            kube.apply(service(namespace))
            eventually(lambda: kube.get("PodMonitor", namespace, "chat"))
            eventually(lambda: condition(kube, namespace, "Progressing") == ("True", "RolledOut"))

            kube.delete("PodMonitor", namespace, "chat")  # nobody watches: nobody is told
            kube.apply(service(namespace, monitoring={"labels": {"release": "prometheus"}}))

            def labels() -> Object:
                found = kube.get("PodMonitor", namespace, "chat") or {"metadata": {}}
                return dict(found["metadata"].get("labels", {}))

            eventually(lambda: labels().get("release") == "prometheus")
    finally:
        remove_pod_monitors(kube)


def test_a_kind_that_is_taken_away_stands_in_nobodys_way(
    kube: Kube, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator asks every two minutes which kinds there are; no service waits so long."""
    monkeypatch.setitem(API_VERSIONS, "PodMonitor", "monitoring.coreos.com/v1")
    simulated.install_crd(kube, POD_MONITORS)
    try:
        with OperatorProcess(kube, tmp_path, namespace, [namespace]) as operator:
            operator.leads()
            kube.apply(service(namespace))
            eventually(lambda: kube.get("PodMonitor", namespace, "chat"))
            remove_pod_monitors(kube)

            kube.apply(service(namespace, monitoring={"labels": {"release": "prometheus"}}))
            kube.apply(service(namespace, "other"))
            rolled_out = ("True", "RolledOut")
            eventually(
                lambda: condition(kube, namespace, "Progressing", "other") == rolled_out,
                within_seconds=DISCOVER_SECONDS / 2,
            )
    finally:
        remove_pod_monitors(kube)


def remove_pod_monitors(kube: Kube) -> None:
    name = POD_MONITORS["metadata"]["name"]
    if kube.get("CustomResourceDefinition", None, name):
        kube.delete("CustomResourceDefinition", None, name)
    eventually(lambda: kube.get("CustomResourceDefinition", None, name) is None)
