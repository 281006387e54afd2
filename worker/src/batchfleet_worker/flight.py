"""A flight: one engine call and the clients that share its answer.

A state machine without I/O.  ``Pipeline`` makes flights, queues them and sends them; the engine's
side calls ``head/data/end/lost``; each client holds its :class:`Subscriber` as its ticket.

    queued ──send──► sent ──head──► answering ──end──► over
                      │  └─ lost unanswered: sent once more

No client has a privilege: the first to come may leave and the call goes on; the last to leave
cancels it.  Order inside every event: first the books (slots, tables), then the clients, because a
client's callback may come back with its next request.
"""

from __future__ import annotations

from batchfleet_worker.errors import ENGINE_BROKEN, NO_ENGINE, TOO_SLOW
from batchfleet_worker.exchange import (
    LAGGING_BYTES,
    Call,
    Lost,
    Refusal,
    Request,
    ResponseHead,
    Route,
    Told,
)
from batchfleet_worker.subscriber import Keeper, Subscriber

_SHARED_ERRORS = frozenset({400, 404, 405, 413, 415, 422})
"""What the engine says about the request itself, and would say again."""

_CREDENTIALS = frozenset({401, 403})
"""Said about who asks: never shared, although the credentials are in the key.  The others ask
again, one after the other for as long as they are refused."""


class Flight:
    """``key``: under which others find it; None where, or as soon as, nobody may join.

    ``replay_bytes``: how much of the answer is kept for late joiners; past it the flight closes to
    new ones.  ``keep_log`` False counts the bytes only (mode Observe).  ``epoch``: the engine's
    incarnation that saw this request first; None before the first attempt.
    """

    __slots__ = (
        "_head",
        "_head_at",
        "_keeper",
        "_lagging",
        "_log",
        "_paused",
        "_replay_left",
        "_resent",
        "_subscribers",
        "call",
        "epoch",
        "key",
        "request",
        "second",
        "sent_at",
        "takes_slot",
    )

    def __init__(
        self,
        keeper: Keeper,
        request: Request,
        key: bytes | None = None,
        *,
        replay_bytes: int = 0,
        keep_log: bool = False,
        epoch: int | None = None,
    ) -> None:
        self._keeper = keeper
        self.request = request
        self.key = key
        self.epoch = epoch
        self.second = epoch is not None  # an equal call was already answered with an error
        self.takes_slot = request.route is not Route.PASS
        self.call: Call | None = None
        self.sent_at: float | None = None
        self._head: ResponseHead | None = None
        self._head_at = 0.0
        self._subscribers: dict[Subscriber, None] = {}  # in order of arrival
        self._log: list[bytes] | None = [] if keep_log else None
        self._replay_left = replay_bytes
        self._resent = False
        self._lagging = 0
        self._paused = False

    # --- clients ---------------------------------------------------------------------------

    def join(self, subscriber: Subscriber) -> None:
        """Replays in one write what was answered so far; from then on the client follows."""
        subscriber.flight = self
        self._subscribers[subscriber] = None
        if self._head is None:
            return
        self._start(subscriber, self._head)
        if self._log and not subscriber.over:
            self._deliver(subscriber, b"".join(self._log))
        if self._paused and not (subscriber.over or subscriber.lagging):
            self._resume()

    def remove(self, subscriber: Subscriber) -> None:
        """Idempotent.  Cancels the call with the last client."""
        if subscriber not in self._subscribers:
            return
        del self._subscribers[subscriber]
        if subscriber.lagging:
            self._lagging -= 1
        if not self._subscribers:
            if self.call is not None:
                self.call.cancel()
            self._land()

    def caught_up(self, subscriber: Subscriber) -> None:
        if subscriber in self._subscribers:
            subscriber.lagging = False
            self._lagging -= 1
            if self._paused:
                self._resume()

    def waits(self) -> list[float]:
        """When each client was offered, for those who wait for the call to be sent."""
        return [subscriber.offered_at for subscriber in self._subscribers]

    def close(self) -> None:
        """From here on new arrivals start their own flight."""
        if self.key is not None:
            self._keeper.closed(self)
            self.key = None
            self._log = None

    # --- the engine's side -----------------------------------------------------------------

    def head(self, head: ResponseHead) -> None:
        self._head = head
        self._head_at = self._keeper.now()
        if not self._shareable(head.status):
            self.close()
            # The error may be the first client's own bad luck (a full engine, a moment's fault),
            # so it goes to that one alone.  The others ask once more, together, because a call
            # for each would feed an overload; a second error of this kind is everybody's.
            first, *others = self._subscribers
            if others:
                for subscriber in others:
                    del self._subscribers[subscriber]
                self._keeper.ask_again(self, others)
            if not first.over:
                self._start(first, head)
            return
        for subscriber in tuple(self._subscribers):
            if not subscriber.over:
                self._start(subscriber, head)

    def data(self, chunk: bytes) -> None:
        if self.key is not None:
            self._replay_left -= len(chunk)
            if self._replay_left < 0:
                self.close()
            elif self._log is not None:
                self._log.append(chunk)
        for subscriber in tuple(self._subscribers):
            if not subscriber.over:
                self._deliver(subscriber, chunk)

    def end(self) -> None:
        clients = self._take_all()
        self._land()
        for subscriber in clients:
            subscriber.end()

    def lost(self, why: Lost) -> None:
        self._keeper.failed(why)
        self.call = None
        if why is Lost.UNANSWERED and not self._resent and self._keeper.may_resend(self):
            self._resent = True
            self._keeper.send(self)
            return
        self.refuse_all(NO_ENGINE if why is Lost.REFUSED else ENGINE_BROKEN)

    def refuse_all(self, refusal: Refusal) -> None:
        clients = self._take_all()
        self._land()
        for subscriber in clients:
            subscriber.refuse(refusal)

    # --- inside ----------------------------------------------------------------------------

    def _shareable(self, status: int) -> bool:
        if status in _CREDENTIALS:
            return False
        return self.second or status < 400 or status in _SHARED_ERRORS

    def _start(self, subscriber: Subscriber, head: ResponseHead) -> None:
        sent_at = self.sent_at or 0.0
        since = max(sent_at, subscriber.offered_at)
        told = Told(
            subscriber.result,
            max(0.0, sent_at - subscriber.offered_at),
            max(0.0, self._head_at - since),
        )
        self._keeper.answered(subscriber, self)
        subscriber.sink.start(head, told)

    def _deliver(self, subscriber: Subscriber, chunk: bytes) -> None:
        sink = subscriber.sink
        sink.data(chunk)
        backlog = sink.backlog()
        if backlog <= LAGGING_BYTES or subscriber.over:
            return
        if not subscriber.lagging:
            subscriber.lagging = True
            self._lagging += 1
        if self._lagging < len(self._subscribers):
            # The others go on: this one may fall behind so far and no further.
            if backlog > self._keeper.lag_bytes:
                subscriber.refuse(TOO_SLOW)
        elif not self._paused and self.call is not None:
            self._paused = True
            self.call.pause()

    def _resume(self) -> None:
        self._paused = False
        if self.call is not None:
            self.call.resume()

    def _take_all(self) -> tuple[Subscriber, ...]:
        clients = tuple(self._subscribers)
        self._subscribers.clear()
        return clients

    def _land(self) -> None:
        """Closes the books, before any client hears of the end."""
        self.close()
        self.call = None
        self._keeper.over(self)
