"""What is counted for every engine call, as plain numbers, until somebody reads the metrics.

A histogram or a labelled counter costs several times what an attribute does; most calls go straight
to the engine and have one client, and for those an attribute says it all.
"""

from __future__ import annotations

from batchfleet_worker.metrics import Metrics


class Tally:
    __slots__ = (
        "completion",
        "completion_shared",
        "lone",
        "prompt",
        "prompt_shared",
        "straight",
    )

    def __init__(self) -> None:
        self._clear()

    def count(self, metrics: Metrics) -> None:
        """Moves everything into the metrics."""
        waits, clients = metrics.queue_wait_seconds, metrics.subscribers_per_flight
        waits.counts[0] += self.straight
        clients.counts[0] += self.lone
        clients.sum += self.lone
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
