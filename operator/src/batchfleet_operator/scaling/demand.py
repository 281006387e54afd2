"""How many pods the offered work needs: by its rate, by its slots, by its memory.

Pure arithmetic over :class:`Signals`; ``autoscale`` makes a size of it.  Where the numbers come
from: ``docs/decisions/0015-sized-from-offered-work.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from batchfleet_operator.api.autoscaling import Autoscaling
from batchfleet_operator.api.schema import MAX_REPLICAS
from batchfleet_operator.metering.signals import Signals

TARGET = 0.70
"""Share of what a full pod can do that offered work may take; what is left is for the time that a
new pod takes to start.  Of slots it would be too much: calls in flight grow faster than the load,
and at 0.7 of the slots a pod already does over 0.9 of what it can (simulate, synthetic:day: 84 %
of requests in time instead of 98 %)."""
BATCH_TARGET = 0.85
"""Nobody waits, so a queue may take what the slots do not."""
TICK_SECONDS = 15.0
"""A rise goes on until the next look as well."""
SLOPE_SECONDS = 300.0
NOISE_SIGMAS = 4.0
"""A slope below four times what chance alone makes of a steady rate is none."""
MOST_GROWTH = 1.15
"""A trend is followed so far: a ramp of a day doubles in an hour, and a step is no ramp."""
SLOTS_TARGET = 0.85
"""Of what is in flight and waiting at this very moment: noise, so nearer to full."""
MEMORY_TARGET = 0.85 * 0.80
"""vLLM preempts near a full KV cache; llm-d calls a pod saturated at 0.80."""
DRAIN_SECONDS = 60.0
BATCH_DRAIN_SECONDS = 1800.0
"""Objective Batch, and batch traffic of any service: a backlog may take half an hour."""


class Needs(NamedTuple):
    """Pods, with fractions; ``None``: not known."""

    rate: float | None
    slots: float | None
    memory: float | None

    @property
    def most(self) -> float | None:
        """The largest of what is known."""
        return max((each for each in self if each is not None), default=None)


@dataclass(frozen=True, slots=True)
class Demand:
    """Pods that are needed now, and from which numbers; ``None``: not known."""

    n_rate: int | None
    n_slot: int | None
    n_kv: int | None
    offered_per_second: float | None  # engine calls: requests that join another cost nothing
    forecast_per_second: float | None  # of the same, when a pod asked for now would serve
    work_seconds: float | None  # of a full pod, for one call
    lead_seconds: float

    @property
    def replicas(self) -> int | None:
        """The largest of what is known."""
        counts = (self.n_rate, self.n_slot, self.n_kv)
        return max((each for each in counts if each is not None), default=None)


@dataclass(frozen=True, slots=True)
class Sizing:
    """What turns signals into pods."""

    target: float  # share of a full pod's work that may be taken
    batch: bool  # objective Batch
    work_seconds: float | None
    batch_size: int | None
    lead_seconds: float

    @classmethod
    def of(
        cls,
        policy: Autoscaling,
        work_seconds: float | None,
        batch_size: int | None,
        lead_seconds: float,
    ) -> Sizing:
        batch = policy.objective == "Batch"
        percent = policy.target_utilization_percent
        target = (BATCH_TARGET if batch else TARGET) if percent is None else percent / 100
        return cls(target, batch, work_seconds, batch_size, lead_seconds)

    def demand(self, signal: Signals) -> Demand:
        """What is needed by the time that new pods serve."""
        needs = self.needs(signal, ahead=True)
        return Demand(
            n_rate=_whole(needs.rate),
            n_slot=_whole(needs.slots),
            n_kv=_whole(needs.memory),
            offered_per_second=_engine_calls(signal),
            forecast_per_second=self._forecast(signal),
            work_seconds=self.work_seconds,
            lead_seconds=self.lead_seconds,
        )

    def least(self, signal: Signals) -> Needs:
        """What would have carried that moment's load with every slot filled, and no reserve."""
        calls, work_seconds = _engine_calls(signal), self.work_seconds
        flight, size = signal.in_flight, self.batch_size
        return Needs(
            rate=None if calls is None or work_seconds is None else calls * work_seconds,
            slots=None if flight is None or size is None else flight / size,
            memory=_by_memory(signal, 0.0),
        )

    def needs(self, signal: Signals, ahead: bool) -> Needs:
        """At the target; ``ahead``: with the trend."""
        queued = signal.queued or 0.0
        patient = queued if self.batch else min(signal.queued_batch or 0.0, queued)
        calls = self._forecast(signal) if ahead else _engine_calls(signal)
        return Needs(
            rate=self._by_rate(calls, queued - patient, patient),
            slots=self._by_slots(signal, queued - patient),
            memory=_by_memory(signal, queued - patient),
        )

    def _forecast(self, signal: Signals) -> float | None:
        """Engine calls per second when a pod that is asked for now would serve."""
        calls, offered = _engine_calls(signal), signal.offered_per_second
        if calls is None or not offered or self.batch:
            return calls
        noise = NOISE_SIGMAS * math.sqrt(12 * offered / SLOPE_SECONDS**3)
        slope = signal.offered_slope or 0.0
        rise = slope * (self.lead_seconds + TICK_SECONDS) if slope > noise else 0.0
        return calls * min(1 + rise / offered, MOST_GROWTH)

    def _by_rate(self, calls: float | None, waiting: float, patient: float) -> float | None:
        if calls is None or self.work_seconds is None:
            return None
        steady = calls * self.work_seconds
        drain = max(self.lead_seconds, DRAIN_SECONDS)
        backlog = (waiting / drain + patient / BATCH_DRAIN_SECONDS) * self.work_seconds
        # A backlog asks for at most as many pods again: it grows while new ones fail to start.
        extra = min(backlog, max(steady, 1.0))
        return steady / self.target + extra

    def _by_slots(self, signal: Signals, waiting: float) -> float | None:
        if self.batch_size is None or signal.in_flight is None:
            return None
        filled = max(SLOTS_TARGET, self.target) * self.batch_size
        # Where a call's work is known, its waiting is paid for by rate, which gives it time.
        waiting = 0.0 if self.work_seconds is not None else min(waiting, filled)
        return (signal.in_flight + waiting) / filled


def _whole(pods: float | None) -> int | None:
    return None if pods is None else math.ceil(min(pods, MAX_REPLICAS))


def _engine_calls(signal: Signals) -> float | None:
    """Engine calls per second that the offered requests make."""
    if signal.offered_per_second is None:
        return None
    return signal.offered_per_second * (1 - min(max(signal.joined_share or 0.0, 0.0), 1.0))


def _by_memory(signal: Signals, waiting: float) -> float | None:
    if signal.kv_usage is None:
        return None
    coming = 0.0
    if signal.prompt_tokens and signal.kv_tokens_per_pod:
        coming = waiting * signal.prompt_tokens / signal.kv_tokens_per_pod
    # At most as much again: a queue has no end where pods fail to start.
    return (signal.kv_usage + min(coming, signal.kv_usage)) / MEMORY_TARGET
