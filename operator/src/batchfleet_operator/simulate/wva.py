"""llm-d's Workload Variant Autoscaler, saturation based: by spare KV cache and spare queue.

A pod is saturated at KV use ≥ its threshold (0.80) or ≥ 5 waiting requests.  One pod more when the
others have, on average, less than 0.10 KV or 3 places in the queue to spare; one less only if
what is left still has that; nothing up while pods are starting.
"""

from __future__ import annotations

from batchfleet_operator.simulate.fleet import Fleet
from batchfleet_operator.simulate.meter import Meter, PodSample
from batchfleet_operator.simulate.policy import Bounds

TICK_SECONDS = 30.0
KV_SATURATED = 0.80
QUEUE_SATURATED = 5
SPARE_KV = 0.10
SPARE_QUEUE = 3.0


class WVA:
    """``kv_saturated``: where the KV cache counts as full; the spare share of it stays 1/8."""

    tick_seconds = TICK_SECONDS

    def __init__(self, bounds: Bounds, kv_saturated: float = KV_SATURATED) -> None:
        self._bounds = bounds
        self._kv = kv_saturated
        self._spare_kv = kv_saturated * SPARE_KV / KV_SATURATED

    def look(self, fleet: Fleet, meter: Meter, now: float) -> int:
        scrape, current = meter.latest(now), fleet.asked
        if scrape is None or not scrape.pods:
            return current
        free = [pod for pod in scrape.pods.values() if not self._saturated(pod)]
        if not free or not self._has_spare(free, len(free)):
            return current if fleet.starting else self._bounds.clamp(current + 1)
        if len(free) > 1 and not fleet.starting and self._has_spare(free, len(free) - 1):
            return self._bounds.clamp(current - 1)
        return current

    def _saturated(self, pod: PodSample) -> bool:
        return pod.kv_usage >= self._kv or pod.queued >= QUEUE_SATURATED

    def _has_spare(self, pods: list[PodSample], over: int) -> bool:
        """Whether that many pods would have room if they shared these pods' load."""
        kv = sum(pod.kv_usage for pod in pods) / over
        queued = sum(pod.queued for pod in pods) / over
        return self._kv - kv >= self._spare_kv and QUEUE_SATURATED - queued >= SPARE_QUEUE
