"""What is counted for every engine call, as plain numbers, until somebody reads the metrics.

A histogram or a labelled counter costs several times what an attribute does; most calls go straight
to the engine and have one client, and for those an attribute says it all.  How long a request took
differs with each: for that a bucket is looked up, and no more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Final

from batchfleet_worker.errors import QUEUE_TIMEOUT, TIMEOUT
from batchfleet_worker.exchange import Refusal
from batchfleet_worker.histogram import REQUEST_BUCKETS
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.subscriber import Subscriber

# Of one type: bisect compares such numbers several times faster.
_EDGES: Final[tuple[float, ...]] = tuple(float(edge) for edge in REQUEST_BUCKETS)
_FIRST: Final[float] = _EDGES[0]
_TIME_WAS_UP: Final = frozenset({TIMEOUT.code, QUEUE_TIMEOUT.code})
_FIRST_ERROR: Final = 400


class Tally:
    __slots__ = (
        "completion",
        "completion_shared",
        "lone",
        "prompt",
        "prompt_shared",
        "straight",
        "took",
        "took_seconds",
    )

    def __init__(self) -> None:
        self._clear()

    def ended(
        self, client: Subscriber, refusal: Refusal | None, left: bool, now: Callable[[], float]
    ) -> None:
        """A client that was let in has its whole answer, or a refusal, or went away.

        Whoever waited in vain counts with the time that it waited: of a slow service, from which
        all clients run away, nothing else would be known.  Errors say nothing about how long an
        answer takes, neither ours nor the engine's.
        """
        flight = client.flight
        if flight is None or not flight.takes_slot:
            return
        if left or refusal is not None:
            if not left and refusal is not None and refusal.code not in _TIME_WAS_UP:
                return
            seconds = now() - client.offered_at
        else:
            head, sent_at = flight.head_received, flight.sent_at
            if head is None or sent_at is None or head.status >= _FIRST_ERROR:
                return
            # When it landed, a moment ago: the clock need not be asked again.
            seconds = sent_at + flight.service_seconds - client.offered_at
        self.took[bisect_left(_EDGES, seconds) if seconds > _FIRST else 0] += 1
        self.took_seconds += seconds

    def count(self, metrics: Metrics) -> None:
        """Moves everything into the metrics."""
        waits, clients = metrics.queue_wait_seconds, metrics.subscribers_per_flight
        waits.counts[0] += self.straight
        clients.counts[0] += self.lone
        clients.sum += self.lone
        whole = metrics.request_seconds
        whole.sum += self.took_seconds
        for bucket, requests in enumerate(self.took):
            whole.counts[bucket] += requests
        computed, served = metrics.tokens_computed_total, metrics.tokens_served_total
        computed["prompt"] += self.prompt
        computed["completion"] += self.completion
        served["prompt"] += self.prompt + self.prompt_shared
        served["completion"] += self.completion + self.completion_shared
        self._clear()

    def _clear(self) -> None:
        self.straight = 0  # calls that did not wait for a slot
        self.lone = 0  # calls with one client
        self.prompt = self.completion = 0  # tokens of engine calls
        self.prompt_shared = self.completion_shared = 0  # the same, for each further client
        self.took = [0] * (len(_EDGES) + 1)  # requests by how long they took
        self.took_seconds = 0.0
