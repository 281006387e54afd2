"""The admission with real flights and nothing else around, in virtual time; calls end when the test
says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from batchfleet_worker.admission import Admission
from batchfleet_worker.exchange import Caller, Head, Lost, Refusal, Request, ResponseHead, Route
from batchfleet_worker.flight import Flight
from batchfleet_worker.live import BatchingSettings, RequestsSettings
from batchfleet_worker.metrics import Metrics
from tests.worker.virtual import VirtualClock


def request(
    priority: int = 0,
    tenant: str = "",
    weight: int = 1,
    *,
    model: str = "m",
    body: bytes = b"{}",
    timeout_seconds: float | None = None,
) -> Request:
    head = Head(
        b"POST",
        "/v1/completions",
        b"/v1/completions",
        (),
        Route.RELAY,
        Caller(tenant, 1000),
        priority=priority,
        timeout_seconds=timeout_seconds,
    )
    made = Request(head, body, "r")
    made.priority, made.weight, made.model = priority, weight, model
    return made


class Hall:
    """What the pipeline is to the admission and to flights, as far as those go."""

    def __init__(
        self,
        limit: int | None = None,
        *,
        requests: RequestsSettings | None = None,
        **batching: Any,
    ) -> None:
        self.clock = VirtualClock()
        self.metrics = Metrics.of("test")
        self.sent: list[Flight] = []  # under way, in order
        self.refused: list[str] = []
        self.on_send: Callable[[Flight], None] | None = None
        self.admission = Admission(self.clock, self.metrics, self._send)
        self.apply(limit, requests=requests, **batching)

    def apply(
        self, limit: int | None, *, requests: RequestsSettings | None = None, **batching: Any
    ) -> None:
        self.admission.apply(BatchingSettings(max_batch_size=limit, **batching), requests)

    def offer(self, asked: Request) -> Flight | Refusal:
        """As the pipeline does."""
        now = self.clock.time()
        refusal = self.admission.refusal(asked, now) or self.admission.shed(asked, now)
        return refusal or self.push(asked)

    def push(self, asked: Request) -> Flight:
        flight = Flight(cast(Any, self), asked)
        self.admission.push(flight)
        return flight

    def code(self, asked: Request) -> str | None:
        offered = self.offer(asked)
        return offered.code if isinstance(offered, Refusal) else None

    def end(self, flight: Flight, status: int = 200, tokens: tuple[int, int] = (0, 0)) -> None:
        """The engine answered."""
        flight.head_received = ResponseHead(status, ())
        flight.tokens = tokens
        flight._land()

    def lose(self, flight: Flight, why: Lost) -> None:
        flight.lost(why)

    def leave(self, flight: Flight) -> None:
        """Its last client went away."""
        flight._land()

    # --- subscriber.Keeper, as far as it is needed

    def now(self) -> float:
        return self.clock.time()

    def may_resend(self, flight: Flight) -> bool:
        return False

    def failed(self, flight: Flight, why: Lost) -> None:
        self.admission.failed(flight, why)

    def over(self, flight: Flight) -> None:
        if flight in self.sent:
            self.sent.remove(flight)
        elif flight.head_received is None:
            self.refused.append("queued")
        self.admission.over(flight)

    def _send(self, flight: Flight) -> None:
        self.sent.append(flight)
        if self.on_send is not None:
            self.on_send(flight)


def serve(hall: Hall, count: int, tokens: tuple[int, int] = (0, 0)) -> list[Flight]:
    """Ends what runs longest, ``count`` times; returns what was sent then."""
    begun = len(hall.sent)
    sent: list[Flight] = []
    hall.on_send = sent.append
    for _ in range(count):
        hall.end(hall.sent[0], tokens=tokens)
    hall.on_send = None
    assert begun or not count
    return sent
