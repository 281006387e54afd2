"""What Prometheus would say of a fleet: scraped every 15 seconds, rates over a minute, and faults.

Made from counters and gauges as the sidecar has them.  ``signals`` is what the operator's
``autoscale`` gets; the other policies read the scrapes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from batchfleet_operator.metering.signals import MetricsState, Signals
from batchfleet_operator.simulate import faults
from batchfleet_operator.simulate.faults import Fault
from batchfleet_operator.simulate.fleet import Fleet

EPOCH = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday; a run's second 0
SCRAPE_SECONDS = 15.0
RATE_SECONDS = 60.0
SLOPE_SECONDS = 300.0
MAX_AGE_SECONDS = 60.0
"""Older samples are no samples, for our policy as for Prometheus' lookback of an absent series."""


def moment(now: float) -> datetime:
    return EPOCH + timedelta(seconds=now)


@dataclass(frozen=True, slots=True)
class PodSample:
    """Gauges of one ready pod."""

    running: int
    queued: int
    kv_usage: float

    @property
    def load(self) -> int:
        return self.running + self.queued


@dataclass(frozen=True, slots=True)
class Scrape:
    """Counters of the fleet and gauges of its pods at one moment."""

    at: float
    offered: int
    completed: int
    prompt_tokens: int
    output_tokens: int
    pods: Mapping[int, PodSample]


class Meter:
    """``scrape`` on time; then ask."""

    def __init__(self, fleet: Fleet, broken: Sequence[Fault]) -> None:
        self._fleet = fleet
        self._broken = broken
        self._scrapes: deque[Scrape] = deque(maxlen=int(2 * SLOPE_SECONDS / SCRAPE_SECONDS))

    def scrape(self) -> None:
        now, fleet = self._fleet.now, self._fleet
        if faults.at(self._broken, now, "metrics-gone", "metrics-stale"):
            return
        ledger = fleet.ledger
        samples = {}
        for number in fleet.serving:
            engine = fleet.pods[number].engine
            if engine is not None:
                samples[number] = PodSample(engine.running, len(engine.queue), engine.kv_usage(now))
        self._scrapes.append(
            Scrape(
                now,
                ledger.offered,
                ledger.completed,
                ledger.prompt_tokens,
                ledger.output_tokens,
                samples,
            )
        )

    def state(self, now: float) -> MetricsState:
        """Whether there are numbers, in the operator's words."""
        fault = faults.at(self._broken, now, *faults.METRICS)
        if fault is not None and fault.kind == "prometheus-down":
            return "PrometheusError"
        if not self._scrapes:
            return "Missing"
        if fault is not None and fault.kind in ("metrics-nan", "metrics-gone"):
            return "Missing"
        return "Found" if now - self._scrapes[-1].at <= MAX_AGE_SECONDS else "Stale"

    def latest(self, now: float) -> Scrape | None:
        """The last scrape, or None where an adapter would have no answer."""
        return self._scrapes[-1] if self.state(now) == "Found" else None

    def signals(self, now: float) -> Signals:
        """As the operator's snapshot of one service; unknown is None."""
        at, state = moment(now), self.state(now)
        if state != "Found":
            return Signals(at=at, state=state, message=f"simulated: {state}")
        last = self._scrapes[-1]
        minute = self._before(last.at - RATE_SECONDS)
        five = self._before(last.at - SLOPE_SECONDS)
        seen = Signals(
            at=at,
            fresh_pods=len(last.pods),
            in_flight=float(sum(pod.running for pod in last.pods.values())),
            queued=float(sum(pod.queued for pod in last.pods.values())),
            queued_batch=0.0,
            kv_usage=sum(pod.kv_usage for pod in last.pods.values()),
            kv_tokens_per_pod=float(self._fleet.physics.kv_tokens),
            joined_share=0.0,
            utilisation=self._utilisation(last),
        )
        if minute.at < last.at:
            took = last.at - minute.at
            seen = replace(
                seen,
                offered_per_second=(last.offered - minute.offered) / took,
                completed_per_second=(last.completed - minute.completed) / took,
                offered_slope=self._slope(last.at),
            )
        done = last.completed - five.completed
        if done > 0:
            seen = replace(
                seen,
                prompt_tokens=(last.prompt_tokens - five.prompt_tokens) / done,
                output_tokens=(last.output_tokens - five.output_tokens) / done,
            )
        return seen

    def _utilisation(self, last: Scrape) -> float | None:
        if not last.pods:
            return None
        running = sum(pod.running for pod in last.pods.values())
        return running / len(last.pods) / self._fleet.limit

    def _before(self, at: float) -> Scrape:
        """The newest scrape that is at least that old, else the oldest there is."""
        chosen = self._scrapes[0]
        for each in self._scrapes:
            if each.at > at:
                break
            chosen = each
        return chosen

    def _slope(self, now: float) -> float | None:
        """Prometheus' deriv() of the minute's rate over five minutes: least squares."""
        rates = []
        for each in self._scrapes:
            if now - SLOPE_SECONDS <= each.at:
                minute = self._before(each.at - RATE_SECONDS)
                if minute.at <= each.at - RATE_SECONDS:
                    rates.append(
                        (each.at - now, (each.offered - minute.offered) / (each.at - minute.at))
                    )
        if len(rates) < 2:
            return None
        n = len(rates)
        mean_at = sum(at for at, _ in rates) / n
        mean_rate = sum(rate for _, rate in rates) / n
        spread = sum((at - mean_at) ** 2 for at, _ in rates)
        return sum((at - mean_at) * (rate - mean_rate) for at, rate in rates) / spread
