"""Why a service has no metrics, and ``MetricsAvailable``: what Prometheus knows of its pods.

Pure.  A service without one fresh sample gets a reason and what to do about it, since "nothing
there" looks the same whether the label of a PodMonitor is missing or a network policy is too tight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from batchfleet_operator import names
from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.conditions import Said
from batchfleet_operator.metering.answers import Found
from batchfleet_operator.metering.signals import Signals, Watched

SILENT = timedelta(minutes=5)
FAILED_TICKS = 3
"""In a row, before the condition says so: one lost answer is no news."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of the cluster and the configuration tells why nothing is scraped."""

    pods: int
    has_pod_monitors: bool  # the cluster serves that kind
    labels: Mapping[str, str]  # of the service's PodMonitor, by configuration and spec
    max_age_seconds: float


def absent(found: Found, around: Surroundings, at: datetime) -> Signals:
    """The signals of a service of which no pod has a fresh sample."""
    targets, up = found.numbers.get("targets", 0.0), found.numbers.get("targets_up", 0.0)
    known = found.numbers.get("known_pods", 0.0)
    if around.pods == 0:
        return Signals(at, "Missing", "there is no pod to measure")
    if targets and not up:
        return Signals(
            at,
            "NotScraped",
            "Prometheus finds the pods and cannot scrape them: their admin port (9090) is open to "
            "those whom the operator's configuration lets in, networkPolicy.adminFrom in the chart",
        )
    if known:
        age = f"{around.max_age_seconds:g} s"
        return Signals(at, "Stale", f"the newest samples of the pods are older than {age}")
    if up:
        return Signals(
            at,
            "Missing",
            "Prometheus scrapes the pods, but knows nothing of their sidecars: it must scrape "
            "/metrics of the port named admin",
        )
    return Signals(at, "NotScraped", f"Prometheus does not scrape the pods: {_why(around)}")


def _why(around: Surroundings) -> str:
    if not around.has_pod_monitors:
        return (
            "the cluster has no PodMonitors (prometheus-operator), so its configuration must find "
            "them and set the labels namespace, pod, service and revision"
        )
    if not around.labels:
        return (
            "it probably selects PodMonitors by a label that ours has not; kube-prometheus-stack "
            "takes those with the label release, the name of its Helm release: set "
            "monitoring.labels in the chart or in the spec"
        )
    told = ", ".join(f"{name}={value}" for name, value in sorted(around.labels.items()))
    return (
        f"the PodMonitor has the labels {told}; compare them with podMonitorSelector and "
        "podMonitorNamespaceSelector of the Prometheus"
    )


def metrics_available(
    service: BatchInferenceService, watched: Watched | None, now: datetime
) -> Said:
    """The condition ``MetricsAvailable``."""
    if watched is None:
        if service.spec.has_own_prometheus:
            return Said("Unknown", names.METRICS_MISSING, "the first look is yet to come")
        return Said(
            "False",
            names.NO_PROMETHEUS,
            "the operator's configuration names no Prometheus (monitoring.prometheus.url in the "
            "chart), and neither does the spec",
        )
    last = watched.signals[-FAILED_TICKS:]
    if last and now - last[-1].at > SILENT:
        minutes = SILENT // timedelta(minutes=1)
        return Said("Unknown", names.METRICS_STALE, f"not looked for {minutes} minutes")
    good = next((each for each in reversed(last) if each.state == "Found"), None)
    if good is not None:
        return Said("True", names.METRICS_FOUND, good.message or "all pods' metrics are there")
    if not last:
        return Said("Unknown", names.METRICS_MISSING, "the first look is yet to come")
    if len(last) < FAILED_TICKS:
        return Said("Unknown", names.METRICS_MISSING, "the first looks have found nothing yet")
    latest = last[-1]
    message = latest.message or "the pods have been scraped less than twice"
    return Said(
        "Unknown" if latest.state == names.METRICS_MISSING else "False", latest.state, message
    )
