"""The data port: where clients connect, and what all their connections share."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from batchfleet_worker.client import Client, Offer, OnRefused, Patience
from batchfleet_worker.intake import Intake
from batchfleet_worker.live import RequestsSettings
from batchfleet_worker.metrics import Metrics

SWEEP_SECONDS = 1.0
AGE_SPREAD = 0.1  # of the age, up and down: clients that came together do not leave together


class DataPort:
    """What all client connections share."""

    def __init__(
        self,
        offer: Offer,
        intake: Intake,
        metrics: Metrics,
        now: Callable[[], float],
        patience: Patience | None = None,
        random: Callable[[], float] = lambda: 0.5,
    ) -> None:
        """``now`` is monotonic seconds, ``random`` gives [0, 1)."""
        self.offer = offer
        self.on_refused: OnRefused | None = None  # hears of what is not offered at all
        self.intake = intake
        self.metrics = metrics
        self.now = now
        self.about_now = now()  # as of the last sweep: fine enough for what takes seconds
        self.patience = patience or Patience()
        self._random = random
        self._max_age_seconds = math.inf  # of a connection; then its next answer is its last
        self.draining = False  # every answer ends its connection
        self.clients: set[Client] = set()
        self.empty = asyncio.Event()  # while there is no client
        self.empty.set()
        self.apply(RequestsSettings())

    def came(self, client: Client) -> None:
        self.clients.add(client)
        self.empty.clear()

    def went(self, client: Client) -> None:
        self.clients.discard(client)
        if not self.clients:
            self.empty.set()

    def apply(self, settings: RequestsSettings) -> None:
        """Takes effect at once, for connections that are there too."""
        self._max_age_seconds = settings.max_connection_age_seconds or math.inf

    def spread(self) -> float:
        """By which one connection's greatest age differs from all others'."""
        return 1 + AGE_SPREAD * (2 * self._random() - 1)

    def may_stay(self, born: float, spread: float) -> bool:
        """Whether a connection made at ``born`` may outlive the answer that begins now."""
        return not (self.draining or self.about_now - born > self._max_age_seconds * spread)

    def client(self) -> Client:
        return Client(self)

    def sweep(self) -> None:
        """End what has taken too long; called every SWEEP_SECONDS in place of timers."""
        self.about_now = now = self.now()
        for client in list(self.clients):
            client.sweep(now)

    def close_idle(self) -> None:
        for client in list(self.clients):
            client.close_if_idle()

    def abort(self) -> None:
        for client in list(self.clients):
            client.transport.abort()
