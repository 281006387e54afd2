"""Pods with engines, requests routed to them, pods that start and drain: what a Deployment is.

An event simulation: between arrivals and ends of requests nothing changes.  A pod that is no
longer wanted gets no new requests and ends when its last one does, as the sidecar's drain does;
those not ready go first, then the least loaded, as pod-deletion-cost makes it.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from batchfleet_operator.simulate import faults
from batchfleet_operator.simulate.engine import Engine, Ledger, Physics
from batchfleet_operator.simulate.faults import Fault

Routing = Literal["least-loaded", "random"]
FIRST_BACK_OFF, MOST_BACK_OFF = 10.0, 300.0  # kubelet's CrashLoopBackOff, seconds


class Pod:
    """``slot``: its place among those that serve; None: starting or draining."""

    __slots__ = ("created", "engine", "failures", "ready_since", "slot", "wake")

    def __init__(self, created: float, wake: float) -> None:
        self.created = created
        self.wake = wake  # next event: its start ends, or a request does
        self.engine: Engine | None = None  # until ready
        self.ready_since: float | None = None
        self.slot: int | None = None
        self.failures = 0


@dataclass(frozen=True, slots=True)
class Make:
    """What a fleet is made of."""

    physics: Physics = field(default_factory=Physics)
    cold_start_seconds: float = 180.0
    routing: Routing = "least-loaded"
    faults: Sequence[Fault] = ()


class Fleet:
    """``ask`` for a size, ``advance`` in time."""

    def __init__(
        self, make: Make, ledger: Ledger, replicas: int, rng: random.Random, until: float
    ) -> None:
        self._make = make
        self._ledger = ledger
        self._rng = rng
        self._until = until  # pods' time is counted until then
        self._events: list[tuple[float, int]] = []
        self._next_id = 0
        self._slowdown = 1.0
        self._next_request = 0
        self._counted = 0.0
        self._limit = make.physics.batch
        self.now = 0.0
        self.asked = replicas
        self.pods: dict[int, Pod] = {}  # all that hold a GPU
        self.serving: list[int] = []  # pod ids, by slot
        self.loads: list[int] = []  # requests in each of these, running and queued
        self.pod_seconds = 0.0
        self.crashes = 0
        self.lets_in = True  # False: a quota keeps pods from being created
        for _ in range(replicas):
            self._serve(self._create())

    @property
    def starting(self) -> list[int]:
        """Pods that are not ready, oldest first."""
        return [i for i, pod in self.pods.items() if pod.engine is None]

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    @property
    def physics(self) -> Physics:
        return self._make.physics

    @property
    def limit(self) -> int:
        """Live limit of requests in flight per pod."""
        return self._limit

    def ask(self, replicas: int) -> None:
        """Want this many pods from now on."""
        self.asked = replicas
        self._fit()

    def set_limit(self, limit: int) -> None:
        """Another batch size for all pods at once."""
        self._limit = limit
        for i, pod in self.pods.items():
            if pod.engine is not None:
                pod.engine.limit = limit
                self._settle(i, pod)

    def advance(self, until: float) -> None:
        """Let time pass.  Call it at least every few seconds of a run with faults."""
        self._slow()
        arrivals, events = self._ledger.trace.arrivals, self._events
        n, i = len(arrivals), self._next_request
        arrives = arrivals[i] if i < n else math.inf
        while True:
            if arrives <= until and (not events or arrives <= events[0][0]):
                self._arrive(i, arrives)
                i += 1
                arrives = arrivals[i] if i < n else math.inf
            elif events and events[0][0] <= until:
                at, number = heapq.heappop(events)
                pod = self.pods.get(number)
                if pod is not None and pod.wake == at:
                    self._happen(number, pod, at)
            else:
                break
        self._next_request = i
        self._count(until)
        self._fit()

    def _arrive(self, i: int, now: float) -> None:
        self._ledger.offered += 1
        self.now = now
        loads = self.loads
        if not loads:
            self._ledger.refused += 1
            return
        if self._make.routing == "random":
            slot = int(self._rng.random() * len(loads))
        else:
            slot = loads.index(min(loads))
        number = self.serving[slot]
        pod = self.pods[number]
        if pod.engine is None or not pod.engine.offer(i, now):
            self._ledger.refused += 1
            return
        loads[slot] += 1
        self._schedule(number, pod)

    def _happen(self, number: int, pod: Pod, now: float) -> None:
        self.now = now
        pod.wake = math.inf
        if pod.engine is None:
            self._start(number, pod)
        else:
            self._settle(number, pod)

    def _settle(self, number: int, pod: Pod) -> None:
        engine = pod.engine
        if engine is None:
            return
        ended = engine.settle(self.now)
        if pod.slot is not None:
            self.loads[pod.slot] -= ended
        elif not engine.running and not engine.queue:
            self._count(self.now)
            del self.pods[number]
            return
        self._schedule(number, pod)

    def _schedule(self, number: int, pod: Pod) -> None:
        """An event that comes too early costs little; one too late would be wrong."""
        wake = pod.engine.wake() if pod.engine is not None else math.inf
        if wake < pod.wake:
            pod.wake = wake
            heapq.heappush(self._events, (wake, number))

    def _start(self, number: int, pod: Pod) -> None:
        if (
            faults.at(self._make.faults, self.now, "pods-crash")
            and self._rng.random() < faults.CRASH_SHARE
        ):
            self.crashes += 1
            wait = min(FIRST_BACK_OFF * 2**pod.failures, MOST_BACK_OFF)
            pod.failures += 1
            pod.wake = self.now + wait + self._make.cold_start_seconds
            heapq.heappush(self._events, (pod.wake, number))
        else:
            self._serve(number)

    def _serve(self, number: int) -> None:
        pod = self.pods[number]
        pod.wake = math.inf
        pod.engine = Engine(self.physics, self._ledger, self.now)
        pod.engine.limit = self._limit
        pod.engine.slow(self._slowdown, self.now)
        pod.ready_since = self.now
        pod.slot = len(self.serving)
        self.serving.append(number)
        self.loads.append(0)

    def _create(self) -> int:
        self._count(self.now)
        number, self._next_id = self._next_id, self._next_id + 1
        pod = self.pods[number] = Pod(self.now, self.now + self._make.cold_start_seconds)
        heapq.heappush(self._events, (pod.wake, number))
        return number

    def _fit(self) -> None:
        """Create and remove pods, as a Deployment's ReplicaSet does."""
        starting = self.starting
        there = len(starting) + len(self.serving)
        quota = faults.at(self._make.faults, self.now, "quota")
        if there < self.asked:
            room = self.asked if quota is None else int(quota.amount or there)
            for _ in range(min(self.asked, room) - there):
                self._create()
        self.lets_in = quota is None or len(self.starting) + len(self.serving) >= self.asked
        for _ in range(there - self.asked):
            self._count(self.now)
            if starting:
                del self.pods[starting.pop()]
            else:
                self._drain(self.loads.index(min(self.loads)))

    def _drain(self, slot: int) -> None:
        number, last = self.serving[slot], self.serving[-1]
        self.serving[slot], self.loads[slot] = last, self.loads[-1]
        self.pods[last].slot = slot
        self.serving.pop()
        self.loads.pop()
        pod = self.pods[number]
        pod.slot = None
        self._settle(number, pod)

    def _slow(self) -> None:
        fault = faults.at(self._make.faults, self.now, "slow-engine")
        factor = 1.0 if fault is None else fault.amount or faults.SLOWDOWN
        if factor != self._slowdown:
            self._slowdown = factor
            for number, pod in self.pods.items():
                if pod.engine is not None:
                    pod.engine.slow(factor, self.now)
                    self._schedule(number, pod)

    def _count(self, now: float) -> None:
        """Pods' time until now; call it before the number of pods changes."""
        end = min(now, self._until)
        if end > self._counted:
            self.pod_seconds += (end - self._counted) * len(self.pods)
            self._counted = end
        self.now = max(self.now, now)
