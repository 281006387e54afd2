"""One client's share of a flight, and what flights and clients need of the pipeline.

``Pipeline.offer`` makes a :class:`Subscriber` for each request and returns it as the ticket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from batchfleet_worker.events import Renaming
from batchfleet_worker.exchange import Lost, Refusal, Request, Result, Sink
from batchfleet_worker.fold import Fold
from batchfleet_worker.memory import Budget
from batchfleet_worker.metrics import Metrics

if TYPE_CHECKING:
    from batchfleet_worker.flight import Flight
    from batchfleet_worker.recall import Recall

DIRECT: Final = Result.DIRECT


class Keeper(Protocol):
    """What a flight and its clients need of the pipeline."""

    lag_bytes: int
    metrics: Metrics
    budget: Budget
    recall: Recall

    @property
    def now(self) -> Callable[[], float]: ...

    @property
    def closed(self) -> Callable[[Flight], None]:
        """Nobody may join a flight any more; called once, and only for a flight with a key."""

    @property
    def may_resend(self) -> Callable[[Flight], bool]: ...

    @property
    def send(self) -> Callable[[Flight], None]: ...

    @property
    def ask_again(self) -> Callable[[Flight, list[Subscriber]], None]:
        """Gives clients, who were taken off a flight, a new one of the same request."""

    def complete(self, flight: Flight, log: list[bytes]) -> None:
        """The whole answer of a flight that could be joined to its end."""

    def over(self, flight: Flight) -> None:
        """The flight ends, in whatever way: its slot or its place in the queue is free."""

    def failed(self, flight: Flight, why: Lost) -> None:
        """An engine call was lost."""

    def gone(self, subscriber: Subscriber, refusal: Refusal | None, left: bool) -> None:
        """A client has its whole answer, or a refusal, or went away by itself."""


class Subscriber:
    """One client's share of a flight; the ticket that ``offer`` returns."""

    __slots__ = (
        "flight",
        "fold",
        "hides_usage",
        "keeper",
        "lagging",
        "offered_at",
        "over",
        "renaming",
        "request",
        "result",
        "sink",
        "token",
    )

    def __init__(self, keeper: Keeper, sink: Sink, offered_at: float) -> None:
        self.keeper = keeper
        self.sink = sink
        self.offered_at = offered_at
        self.result = DIRECT
        self.flight: Flight | None = None
        self.lagging = False
        self.over = False
        # Of a stream that is shared:
        self.hides_usage = False  # the token count was asked for on others' behalf
        self.token: bytes | None = None  # makes the id that it gets; None: the answer's own
        self.renaming: Renaming | None = None  # … once the answer's is known
        # Of one who wants the whole answer and shares a stream:
        self.fold: Fold | None = None  # is its ``sink``
        self.request: Request | None = None  # to be asked alone, should that fail

    def leave(self) -> None:
        if not self.over:
            self._part()
            if self.fold is not None:
                self.fold.drop()
            self.keeper.gone(self, None, True)
        elif self.fold is not None:
            self.fold.drop()  # from inside the end of its answer

    def drained(self) -> None:
        if self.lagging and self.flight is not None:
            self.flight.caught_up(self)

    def end(self) -> None:
        if not self.over:
            self._part()
            flight = self.flight
            self.sink.end()
            # A stream that could not be folded has brought it a flight of its own.
            if self.flight is flight:
                self.keeper.gone(self, None, False)

    def refuse(self, refusal: Refusal) -> None:
        if not self.over:
            self._part()
            self.sink.refuse(refusal)
            self.keeper.gone(self, refusal, False)

    def _part(self) -> None:
        self.over = True
        if self.flight is not None:
            self.flight.remove(self)
