"""What the demo asks the fleet, and how it counts: from the clients' side of the wire."""

from __future__ import annotations

import secrets
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from e2e.support.fleet import Fleet
from e2e.support.kube import Kube
from e2e.support.load import Account, Answer, Load, ask_within, running

SAME_CLIENTS = 24
OTHER_CLIENTS = 8
ROUNDS = 5  # questions of each client, one after the other
ANSWER_TOKENS = 128  # long enough for the others to arrive while the first is answered

SIDECAR_PORT = 8080
LATENCY_TURNS = 3
LATENCY_WARM_UP = 5  # first requests of each turn, not counted
LATENCY_COUNTED = 20  # further requests of each turn
LATENCY_TOKENS = 16


@dataclass(frozen=True)
class Crowd:
    """Many clients with one question, and others with questions of their own beside them."""

    same: Account
    others: Account

    @property
    def answers(self) -> Sequence[Answer]:
        return [*self.same.answers, *self.others.answers]

    @property
    def failures(self) -> list[str]:
        return [*self.same.failures, *self.others.failures]

    @property
    def merged(self) -> int:
        """How many answers said of themselves that they are another request's."""
        return self.same.joined + self.others.joined


def ask_crowd(clients: Kube, fleet: Fleet, model: str) -> Crowd:
    """Both groups at once, from the client pod, through the Service."""
    salt = secrets.token_hex(4)  # what was asked in an earlier run is not what is asked now
    others = Load(
        fleet.url,
        model,
        OTHER_CLIENTS,
        requests=ROUNDS,
        stream="mixed",
        unique=True,
        salt=salt,
        max_tokens=ANSWER_TOKENS,
        timeout_seconds=180,
    )
    same = replace(
        others,
        clients=SAME_CLIENTS,
        unique=False,
        stream="always",
        question=f"Why is the sky blue? [{salt}]",
    )
    with running(clients, same) as first, running(clients, others) as second:
        return Crowd(first.stop(), second.stop())


@dataclass(frozen=True)
class Latency:
    """Milliseconds of whole answers to one client, nothing merged."""

    p50: float
    p95: float

    @classmethod
    def of(cls, accounts: Sequence[Account]) -> Latency:
        counted = [one for each in accounts for one in each.answers[LATENCY_WARM_UP:]]
        cuts = statistics.quantiles([one.seconds * 1000 for one in counted], n=20)
        return cls(p50=cuts[9], p95=cuts[18])


def compare_latency(
    fleet: Fleet, pod: str, model: str, engine_port: int
) -> tuple[Latency, Latency]:
    """Through the sidecar and past it, both from inside the pod: the engine listens only there.

    In turns, so that a machine that is slow for a while is slow for both.
    Raises AssertionError when a request fails.
    """
    accounts: dict[int, list[Account]] = {SIDECAR_PORT: [], engine_port: []}
    for _ in range(LATENCY_TURNS):
        for port, told in accounts.items():
            load = Load(
                f"http://127.0.0.1:{port}",
                model,
                clients=1,
                requests=LATENCY_WARM_UP + LATENCY_COUNTED,
                unique=True,
                salt=secrets.token_hex(4),
                max_tokens=LATENCY_TOKENS,
            )
            told.append(ask_within(fleet.kube, pod, "sidecar", load))
            assert told[-1].failures == [], told[-1].failures[:3]
    return Latency.of(accounts[SIDECAR_PORT]), Latency.of(accounts[engine_port])
