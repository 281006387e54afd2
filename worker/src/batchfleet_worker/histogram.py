"""A histogram that costs one look-up to add to, and the edges of all that the sidecar has.

Every edge is a series of every pod, so each kind of time has no more of them than it needs.
"""

from __future__ import annotations

from bisect import bisect_left

BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 2.5, 5, 10, 30, 60, 120, 300)
"""Seconds.  Edges at 1 and 2 s, where vLLM's latency histograms have theirs too, so that a share
over a threshold can be compared with the engine's; 300 s is the default request timeout."""

GAP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.5, 1, 2)
"""Seconds between two pieces of a stream.  Finer around 50 ms, the default target, and 100 ms."""

REQUEST_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
"""Seconds to a whole answer.  Edges at what services promise, 1 s among them, which is the bound of
the operator's preset; coarser than BUCKETS, since every edge is a series of every pod."""

CLIENT_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Histogram:
    """Counts per bucket (not cumulative until rendered), and the sum of what was observed."""

    __slots__ = ("counts", "edges", "first", "sum")

    def __init__(self, edges: tuple[float, ...] = BUCKETS) -> None:
        self.edges = edges
        self.first = edges[0]
        self.counts = [0] * (len(edges) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.edges, value) if value > self.first else 0] += 1
        self.sum += value
