"""The two policies at the ends: a fixed size, and an oracle that has seen the trace."""

from __future__ import annotations

import math
from collections import deque

from batchfleet_operator.simulate.engine import Physics
from batchfleet_operator.simulate.fleet import Fleet
from batchfleet_operator.simulate.meter import Meter
from batchfleet_operator.simulate.policy import Bounds
from batchfleet_operator.simulate.trace import Trace

SLICE_SECONDS = 15.0
SMOOTH_SLICES = 4
"""A minute: shorter bursts are absorbed by the batch, not by pods."""


class Static:
    """Always that many."""

    tick_seconds = SLICE_SECONDS

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas

    def look(self, fleet: Fleet, meter: Meter, now: float) -> int:
        return self._replicas


class Oracle:
    """Knows every request beforehand, and how long a pod takes: asks for the work of the minutes
    until a pod asked for now would serve, at ``utilisation``.  A lower bound in practice: it keeps
    no reserve for what it did not see coming, and pays for every start."""

    tick_seconds = SLICE_SECONDS

    def __init__(
        self,
        trace: Trace,
        physics: Physics,
        cold_start_seconds: float,
        utilisation: float,
        bounds: Bounds,
    ) -> None:
        slices = math.ceil(trace.seconds / SLICE_SECONDS)
        work = [0.0] * (slices + 1)
        for i, at in enumerate(trace.arrivals):
            work[int(at / SLICE_SECONDS)] += physics.work_seconds(
                trace.prompts[i], trace.outputs[i]
            )
        need = []
        for k in range(slices + 1):
            window = work[max(k - SMOOTH_SLICES + 1, 0) : k + 1]
            busy = sum(window) / len(window) / SLICE_SECONDS
            need.append(bounds.clamp(math.ceil(busy / utilisation)))
        self._sizes = _highest_ahead(need, math.ceil(cold_start_seconds / SLICE_SECONDS) + 2)

    def look(self, fleet: Fleet, meter: Meter, now: float) -> int:
        return self._sizes[min(int(now / SLICE_SECONDS), len(self._sizes) - 1)]


def _highest_ahead(values: list[int], ahead: int) -> list[int]:
    """For each place the highest of it and the ``ahead`` following ones."""
    out, window = [0] * len(values), deque[tuple[int, int]]()
    for k in range(len(values) - 1, -1, -1):
        while window and window[-1][1] <= values[k]:
            window.pop()
        window.append((k, values[k]))
        while window[0][0] > k + ahead:
            window.popleft()
        out[k] = window[0][1]
    return out
