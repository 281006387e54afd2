"""Prometheus beside the fleet: what it scraped, asked through the API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from e2e.kind import images
from e2e.support.fleet import Fleet
from e2e.support.kube import Kube, KubeError
from e2e.support.wait import NotYetError, until

MANIFEST = Path(__file__).parents[1] / "kind" / "prometheus" / "prometheus.yaml"
NAMESPACE = "monitoring"
SELECTOR = "app.kubernetes.io/name=prometheus"
URL = f"http://prometheus.{NAMESPACE}.svc:9090"
SCRAPE_SECONDS = 1  # as the manifest says


def install(kube: Kube, image: str) -> None:
    """Run Prometheus in its own namespace, and wait until it answers."""
    own = kube.at(NAMESPACE)
    own.run("apply", "-f", "-", stdin=MANIFEST.read_text().replace(images.tag("prometheus"), image))
    own.run("rollout", "status", "deployment/prometheus", "--timeout=180s", timeout_seconds=190)


@contextmanager
def gone(kube: Kube) -> Iterator[None]:
    """Within the block there is no Prometheus; the one that comes back knows nothing of before."""
    own = kube.at(NAMESPACE)
    own.run("scale", "deployment/prometheus", "--replicas=0")

    def look() -> None:
        if own.list("pods", SELECTOR):
            raise NotYetError("its pod is still there")

    try:
        until("Prometheus gone", look, within_seconds=90)
        yield
    finally:
        own.run("scale", "deployment/prometheus", "--replicas=1")
        own.run("rollout", "status", "deployment/prometheus", "--timeout=180s", timeout_seconds=190)


def of(fleet: Fleet, metric: str) -> str:
    """The query for a metric's sum over the pods of a service."""
    return f'sum({metric}{{namespace="{fleet.kube.namespace}",service="{fleet.name}"}})'


def value(kube: Kube, query: str) -> float:
    """The number that an instant query gives, 0 without a sample. Raises NotYetError."""
    path = f"/api/v1/namespaces/{NAMESPACE}/services/prometheus:9090/proxy/api/v1/query"
    try:
        answer = json.loads(kube.run("get", "--raw", f"{path}?query={quote(query)}"))
    except KubeError as fault:
        raise NotYetError(str(fault)) from fault
    return sum(float(sample["value"][1]) for sample in answer["data"]["result"])


def agrees(kube: Kube, query: str, wanted: float, *, within_seconds: float = 60) -> float:
    """Wait until a query gives the wanted number: a scrape later than what it counts."""

    def look() -> float:
        if (seen := value(kube, query)) != wanted:
            raise NotYetError(f"{seen:g} in place of {wanted:g}")
        return seen

    return until(f"Prometheus: {query}", look, within_seconds=within_seconds)
