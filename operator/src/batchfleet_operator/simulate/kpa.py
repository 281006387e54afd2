"""Knative's KPA: requests in flight per pod, a stable window of 60 s and a panic window of 6 s.

After knative/serving pkg/autoscaler/scaling/autoscaler.go: every 2 s, panic when the short window
asks for twice the ready pods, no way down while it lasts, down by at most half of the ready pods.
The optional scale-down delay takes the highest wish of that long.  Its numbers come from the
queue proxies, not from Prometheus, so they are here as soon as they change.
"""

from __future__ import annotations

import math
from collections import deque

from batchfleet_operator.simulate.fleet import Fleet
from batchfleet_operator.simulate.meter import Meter
from batchfleet_operator.simulate.policy import Bounds

TICK_SECONDS = 2.0
STABLE_SECONDS = 60.0
PANIC_SECONDS = 6.0
PANIC_FACTOR = 2.0
UP_RATE, DOWN_RATE = 1000.0, 2.0


class KPA:
    """``target``: requests in flight per pod, utilisation already in it."""

    tick_seconds = TICK_SECONDS

    def __init__(self, target: float, bounds: Bounds, delay_seconds: float = 0.0) -> None:
        self._target = target
        self._bounds = bounds
        self._delay = delay_seconds
        self._samples: deque[int] = deque(maxlen=int(STABLE_SECONDS / TICK_SECONDS))
        self._total = 0
        self._panic_since: float | None = None
        self._panic_most = 0
        self._wishes: deque[tuple[float, int]] = deque()  # falling: the first is the highest

    def look(self, fleet: Fleet, meter: Meter, now: float) -> int:
        load = sum(fleet.loads)
        if len(self._samples) == self._samples.maxlen:
            self._total -= self._samples[0]
        self._samples.append(load)
        self._total += load
        panic_count = int(PANIC_SECONDS / TICK_SECONDS)
        recent = [self._samples[-1 - i] for i in range(min(panic_count, len(self._samples)))]
        return self._bounds.clamp(
            self._delayed(
                self._wish(
                    self._total / len(self._samples),
                    sum(recent) / len(recent),
                    max(len(fleet.serving), 1),
                    now,
                ),
                now,
            )
        )

    def _wish(self, stable: float, panic: float, ready: int, now: float) -> int:
        most, least = math.ceil(UP_RATE * ready), math.floor(ready / DOWN_RATE)
        by_stable = math.ceil(stable / self._target)
        by_panic = math.ceil(panic / self._target)
        over = by_panic / ready >= PANIC_FACTOR
        if self._panic_since is None and over:
            self._panic_since = now
            self._panic_most = 0
        elif over:
            self._panic_since = now
        elif self._panic_since is not None and now - self._panic_since > STABLE_SECONDS:
            self._panic_since = None
        wanted = min(max(by_stable, least), most)
        if self._panic_since is None:
            return wanted
        highest = max(wanted, min(max(by_panic, least), most))
        if highest > self._panic_most:
            self._panic_since = now
            self._panic_most = highest
        return self._panic_most

    def _delayed(self, wish: int, now: float) -> int:
        if not self._delay:
            return wish
        wishes = self._wishes
        while wishes and wishes[-1][1] <= wish:
            wishes.pop()
        wishes.append((now, wish))
        while wishes[0][0] <= now - self._delay:
            wishes.popleft()
        return wishes[0][1]
