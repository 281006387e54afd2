"""What the operator tells of itself: each metric once, with its help text.

The registry is this object's own, so that two operators in one process do not share counts.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from batchfleet_operator.loops import Look
from batchfleet_operator.rollouts.leaving import Departure
from batchfleet_operator.servicemetrics import DRAIN_OUTCOMES, PREFIX, ServiceMetrics
from batchfleet_operator.store import Key

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Counts of one process."""

    def __init__(self, version: str) -> None:
        registry = self._registry = CollectorRegistry()
        self.api_calls = Counter(
            f"{PREFIX}_api_calls",
            "Calls to the API server, watches not counted.",
            ["verb", "kind"],
            registry=registry,
        )
        self.events_seen = Counter(
            f"{PREFIX}_events_seen",
            "Watch events received.",
            ["kind"],
            registry=registry,
        )
        self.reconciles = Counter(
            f"{PREFIX}_reconciles",
            "Looks at a service that ended; failed: an error that is tried again.",
            ["outcome"],
            registry=registry,
        )
        self.reconcile_seconds = Histogram(
            f"{PREFIX}_reconcile_seconds",
            "Duration of a look at a service.",
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0),
            registry=registry,
        )
        self.ticks = Counter(
            f"{PREFIX}_ticks",
            "Snapshots asked of Prometheus for all services; failed: any query without an answer.",
            ["outcome"],
            registry=registry,
        )
        self.tick_seconds = Histogram(
            f"{PREFIX}_tick_seconds",
            "Duration of a snapshot of all services.",
            buckets=(0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
            registry=registry,
        )
        self.queries = Counter(
            f"{PREFIX}_queries",
            "Queries asked of Prometheus.",
            ["outcome"],
            registry=registry,
        )
        self.last_tick = Gauge(
            f"{PREFIX}_last_tick_timestamp_seconds",
            "When the last whole snapshot was taken, in Unix time; 0: not yet, or none is asked.",
            registry=registry,
        )
        self.of_services = ServiceMetrics()
        self.services = Gauge(f"{PREFIX}_services", "Services that have a loop.", registry=registry)
        self.leading = Gauge(
            f"{PREFIX}_leading", "1 while this process holds the lease.", registry=registry
        )
        Gauge(f"{PREFIX}_build_info", "Always 1.", ["version"], registry=registry).labels(
            version
        ).set(1)
        for outcome in ("done", "failed"):
            for counter in (self.reconciles, self.ticks, self.queries):
                counter.labels(outcome)

    def count_departure(self, key: Key, departure: Departure) -> None:
        met = (departure.drained, departure.handed_back, departure.aborted)
        self.of_services.count_drained(key, dict(zip(DRAIN_OUTCOMES, met, strict=True)))

    def count_call(self, verb: str, kind: str) -> None:
        self.api_calls.labels(verb, kind).inc()

    def measured(self, look: Look) -> Look:
        """The same, timed and counted."""

        async def timed(key: Key) -> float | None:
            outcome = "failed"
            try:
                with self.reconcile_seconds.time():
                    pause = await look(key)
                outcome = "done"
                return pause
            finally:
                self.reconciles.labels(outcome).inc()

        return timed

    def as_text(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self._registry) + self.of_services.as_text()
