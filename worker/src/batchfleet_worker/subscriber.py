"""One client's share of a flight, and what flights and clients need of the pipeline.

``Pipeline.offer`` makes a :class:`Subscriber` for each request and returns it as the ticket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from batchfleet_worker.exchange import Lost, Refusal, Result, Sink

if TYPE_CHECKING:
    from batchfleet_worker.flight import Flight


class Keeper(Protocol):
    """What a flight needs of the pipeline."""

    lag_bytes: int

    def now(self) -> float: ...

    def closed(self, flight: Flight) -> None:
        """Nobody may join any more; called once, and only for a flight with a key."""

    def over(self, flight: Flight) -> None:
        """The flight ends, in whatever way: its slot or its place in the queue is free."""

    def failed(self, why: Lost) -> None:
        """An engine call was lost."""

    def may_resend(self, flight: Flight) -> bool: ...

    def send(self, flight: Flight) -> None: ...

    def ask_again(self, flight: Flight, clients: list[Subscriber]) -> None:
        """Gives clients, who were taken off a flight, a new one of the same request."""

    def answered(self, subscriber: Subscriber, flight: Flight) -> None:
        """The head of the answer reached a client."""

    def gone(self, subscriber: Subscriber, refusal: Refusal | None, *, left: bool) -> None:
        """A client has its whole answer, or a refusal, or went away by itself."""


class Subscriber:
    """One client's share of a flight; the ticket that ``offer`` returns."""

    __slots__ = ("flight", "keeper", "lagging", "offered_at", "over", "result", "sink")

    def __init__(self, keeper: Keeper, sink: Sink, offered_at: float) -> None:
        self.keeper = keeper
        self.sink = sink
        self.offered_at = offered_at
        self.result = Result.DIRECT
        self.flight: Flight | None = None
        self.lagging = False
        self.over = False

    def leave(self) -> None:
        if not self.over:
            self._part()
            self.keeper.gone(self, None, left=True)

    def drained(self) -> None:
        if self.lagging and self.flight is not None:
            self.flight.caught_up(self)

    def end(self) -> None:
        if not self.over:
            self._part()
            self.sink.end()
            self.keeper.gone(self, None, left=False)

    def refuse(self, refusal: Refusal) -> None:
        if not self.over:
            self._part()
            self.sink.refuse(refusal)
            self.keeper.gone(self, refusal, left=False)

    def _part(self) -> None:
        self.over = True
        if self.flight is not None:
            self.flight.remove(self)
