"""Kubernetes' HorizontalPodAutoscaler v2, and KEDA, which feeds one.

After kubernetes/pkg/controller/podautoscaler: ``replica_calculator.go`` (calcPlainMetricReplicas,
GetExternalPerPodMetricReplicas) and ``horizontal.go`` (stabilisation and scaling rules), with the
defaults of autoscaling/v2: a look every 15 s, tolerance 0.1, up by the larger of 100 % and 4 pods
in 15 s, down to the highest recommendation of the last 300 s.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from batchfleet_operator.simulate.fleet import Fleet
from batchfleet_operator.simulate.meter import Meter, PodSample
from batchfleet_operator.simulate.policy import Bounds

SYNC_SECONDS = 15.0
TOLERANCE = 0.1
DOWN_WINDOW_SECONDS = 300.0
UP_FACTOR, UP_PODS = 2, 4


class Metric(Protocol):
    """A metric's recommendation; None: it cannot be read."""

    def replicas(self, fleet: Fleet, meter: Meter, now: float) -> int | None: ...


class PodsMetric:
    """Type Pods: the mean over the pods against an averageValue.

    Pods without a sample (an engine that still loads has none) count as 0 when it would go up, as
    the target itself when it would go down.
    """

    def __init__(self, of: Callable[[PodSample], float], target: float) -> None:
        self._of = of
        self._target = target

    def replicas(self, fleet: Fleet, meter: Meter, now: float) -> int | None:
        scrape = meter.latest(now)
        if scrape is None:
            return None
        # Pods that are not there any more are not in the selector's list.
        values = [self._of(sample) for pod, sample in scrape.pods.items() if pod in fleet.pods]
        if not values:
            return None
        current = fleet.asked
        missing = len(fleet.starting)
        ratio = sum(values) / len(values) / self._target
        if not missing:
            return current if abs(ratio - 1) <= TOLERANCE else math.ceil(ratio * len(values))
        filled = self._target * missing if ratio < 1 else 0.0
        count = len(values) + missing
        new = (sum(values) + filled) / count / self._target
        if abs(new - 1) <= TOLERANCE or (ratio < 1 < new) or (ratio > 1 > new):
            return current
        wanted = math.ceil(new * count)
        against = (new < 1 and wanted > current) or (new > 1 and wanted < current)
        return current if against else wanted


class ExternalMetric:
    """Type External with averageValue, as KEDA makes it; read anew every ``poll_seconds``.

    KEDA's ``ignoreNullValues`` is true by default: an empty answer counts as 0, and the fallback is
    not used.  No answer at all is an error, and nothing is done.
    """

    def __init__(
        self, of: Callable[[PodSample], float], target: float, poll_seconds: float
    ) -> None:
        self._of = of
        self._target = target
        self._poll = poll_seconds
        self._polled = -math.inf
        self._value: float | None = None

    def replicas(self, fleet: Fleet, meter: Meter, now: float) -> int | None:
        if now - self._polled >= self._poll:
            self._polled = now
            self._value = self._read(meter, now)
        if self._value is None:
            return None
        current = fleet.asked
        if abs(1 - self._value / (self._target * current)) <= TOLERANCE:
            return current
        return math.ceil(self._value / self._target)

    def _read(self, meter: Meter, now: float) -> float | None:
        if meter.state(now) == "PrometheusError":
            return None
        scrape = meter.latest(now)
        return 0.0 if scrape is None else sum(map(self._of, scrape.pods.values()))


class HPA:
    """One metric is enough for the policies here; with more, the highest would count."""

    tick_seconds = SYNC_SECONDS

    def __init__(self, metric: Metric, bounds: Bounds) -> None:
        self._metric = metric
        self._bounds = bounds
        self._recommended: deque[tuple[float, int]] = deque()

    def look(self, fleet: Fleet, meter: Meter, now: float) -> int:
        current = fleet.asked
        wanted = self._metric.replicas(fleet, meter, now)
        if wanted is None:
            return current
        seen = self._recommended
        while seen and seen[0][0] <= now - DOWN_WINDOW_SECONDS:
            seen.popleft()
        seen.append((now, wanted))
        if wanted < current:
            wanted = min(max(each for _, each in seen), current)
        most = max(UP_FACTOR * current, current + UP_PODS)
        return self._bounds.clamp(min(wanted, most))


def in_flight(target: float, bounds: Bounds) -> HPA:
    """On running plus waiting requests per pod: the best of the engine's own metrics for it, as it
    neither saturates (as running, KV and GPU use do) nor is silent until too late (as waiting)."""
    return HPA(PodsMetric(lambda pod: pod.load, target), bounds)


def keda(target: float, bounds: Bounds) -> HPA:
    """KEDA's Prometheus trigger on waiting requests, polled every 30 s, as in vLLM's examples."""
    return HPA(ExternalMetric(lambda pod: pod.queued, target, poll_seconds=30.0), bounds)
