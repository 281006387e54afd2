"""A real HorizontalPodAutoscaler drives the service through its scale subresource."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.support import external_metrics, program
from e2e.support.cluster import Cluster
from e2e.support.fixtures import Serve
from e2e.support.kube import Kube
from e2e.support.wait import NotYetError, until

NAME = "external-metrics"
API = f"v1beta1.{external_metrics.GROUP_VERSION.split('/')[0]}"
# The controller looks every 15 s, and a pod takes a few seconds to start or to drain.
FOLLOWED_WITHIN_SECONDS = 120


@pytest.fixture
def offered(kube: Kube, cluster: Cluster) -> Iterator[Callable[[int], None]]:
    """Sets the metric that the autoscaler sees."""
    if kube.find("apiservice", API):
        pytest.skip(f"{API} is served by somebody else in this cluster")
    source = Path(external_metrics.__file__)
    run = ["python3", f"/program/{source.name}"]
    kube.apply(
        *program.objects(NAME, source, cluster.images.worker, run),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": NAME},
            "spec": {
                "selector": {"app": NAME},
                "ports": [{"port": 443, "targetPort": external_metrics.PORT}],
            },
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API},
            "spec": {
                "group": API.removeprefix("v1beta1."),
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {"name": NAME, "namespace": kube.namespace},
            },
        },
    )
    try:
        program.wait_running(kube, NAME)
        kube.run("wait", "apiservice", API, "--for=condition=Available", "--timeout=60s")

        def offer(value: int) -> None:
            kube.run("exec", NAME, "--", "sh", "-c", f"echo {value} > {external_metrics.VALUE}")

        yield offer
    finally:
        kube.delete("apiservice", API)


def test_an_autoscaler_scales_up_and_down(serve: Serve, offered: Callable[[int], None]) -> None:
    fleet = serve()
    fleet.kube.apply(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": fleet.name},
            "spec": {
                "scaleTargetRef": {
                    "apiVersion": "batchfleet.io/v1alpha1",
                    "kind": "BatchInferenceService",
                    "name": fleet.name,
                },
                "minReplicas": 1,
                "maxReplicas": 3,
                "metrics": [
                    {
                        "type": "External",
                        "external": {
                            "metric": {"name": "offered"},
                            "target": {"type": "AverageValue", "averageValue": "10"},
                        },
                    }
                ],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
            },
        }
    )

    for value, replicas in ((30, 3), (10, 1)):
        offered(value)

        def followed(replicas: int = replicas) -> None:
            hpa = fleet.kube.get("horizontalpodautoscaler", fleet.name)
            if fleet.object()["spec"]["replicas"] != replicas:
                raise NotYetError(f"{hpa['status']}")

        until(f"{replicas} asked for", followed, within_seconds=FOLLOWED_WITHIN_SECONDS)
        fleet.wait_ready(replicas)
