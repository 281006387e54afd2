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

from typing import Final

from batchfleet_worker.audience import Audience
from batchfleet_worker.errors import ENGINE_BROKEN, NO_ENGINE
from batchfleet_worker.events import Aligner, id_of
from batchfleet_worker.exchange import (
    LAGGING_BYTES,
    Lost,
    Refusal,
    Request,
    ResponseHead,
    Route,
    Told,
)
from batchfleet_worker.subscriber import Keeper, Subscriber
from batchfleet_worker.tokens import tokens_at_end

_SHARED_ERRORS = frozenset({400, 404, 405, 413, 415, 422})
"""What the engine says about the request itself, and would say again."""

_CREDENTIALS = frozenset({401, 403})
"""Said about who asks: never shared, although the credentials are in the key.  The others ask
again, one after the other for as long as they are refused."""

_PASS: Final = Route.PASS


class Flight(Audience):
    """``key``: under which others find it; None where, or as soon as, nobody may join.

    ``replay_bytes``: how much of the answer is kept for late joiners; past it the flight closes to
    new ones.  ``keep_log`` False counts the bytes only (mode Observe).  ``epoch``: the engine's
    incarnation that saw this request first; None before the first attempt.
    """

    __slots__ = (
        "_before",
        "_head_at",
        "_last",
        "_log",
        "_piece_at",
        "_replay_left",
        "_resent",
        "carries_usage",
        "enqueued_at",
        "epoch",
        "head_received",
        "key",
        "log_bytes",
        "pieces",
        "priority",
        "request",
        "second",
        "sent_at",
        "service_seconds",
        "takes_slot",
        "tenant",
        "tokens",
        "weight",
    )

    def __init__(
        self,
        keeper: Keeper,
        request: Request,
        key: bytes | None = None,
        replay_bytes: int = 0,
        keep_log: bool = False,
        epoch: int | None = None,
    ) -> None:
        super().__init__(keeper)
        head = request.head
        self.request = request
        self.key = key
        self.epoch = epoch
        self.second = epoch is not None  # an equal call was already answered with an error
        self.takes_slot = head.route is not _PASS
        self.weight = request.weight
        self.priority = request.priority
        self.tenant = head.caller.tenant
        self.enqueued_at = 0.0  # kept here by ``admission``
        self.sent_at: float | None = None  # None: queued
        self.service_seconds = 0.0  # from sent to over
        self.tokens = (0, 0)  # prompt, completion; as counted by the engine, once it is over
        self.carries_usage = False  # the stream ends with a token count
        self.head_received: ResponseHead | None = None
        self.pieces = 0
        self.log_bytes = 0
        self._head_at = 0.0
        self._piece_at = 0.0
        self._log: list[bytes] | None = [] if keep_log else None
        self._replay_left = replay_bytes
        self._resent = False
        self._last = b""
        self._before = b""

    # --- clients ---------------------------------------------------------------------------

    def join(self, subscriber: Subscriber) -> None:
        """Replays in one write what was answered so far; from then on the client follows."""
        subscriber.flight = self
        self._add(subscriber)
        head = self.head_received
        if head is None:
            return
        self._start(subscriber, head)
        if self._log and not subscriber.over:
            keeper = self._keeper
            keeper.metrics.time_to_first_token_seconds.observe(keeper.now() - subscriber.offered_at)
            past = b"".join(self._log)
            if self._answer_id is None:
                self._answer_id = id_of(past)
            self._deliver(subscriber, past, first=True)
        if self._paused and not (subscriber.over or subscriber.lagging):
            self._resume()

    def remove(self, subscriber: Subscriber) -> None:
        """Idempotent.  Cancels the call with the last client."""
        if self._discard(subscriber) and not (self._only or self._many):
            if self.call is not None:
                self.call.cancel()
            self._land()

    def close(self) -> None:
        """From here on new arrivals start their own flight."""
        if self.key is not None:
            self._keeper.closed(self)
            self.key = None
            self._log = None
            if self.log_bytes:
                self._keeper.budget.give(self.log_bytes)
                self.log_bytes = 0

    # --- the engine's side -----------------------------------------------------------------

    def head(self, head: ResponseHead) -> None:
        self.head_received = head
        self._head_at = self._keeper.now()
        status = head.status
        if status != 200 and not self._shareable(status):
            self.close()
            if self._many is not None:
                self._split(head)
                return
        elif self.carries_usage and status == 200 and _is_events(head):
            self._aligner = Aligner()
        only = self._only
        if only is not None:
            self._start(only, head)
            return
        for subscriber in self.subscribers():
            if not subscriber.over:
                self._start(subscriber, head)

    def data(self, chunk: bytes) -> None:
        if self._aligner is not None:
            chunk = self._aligner.feed(chunk)
            if not chunk:
                return
        keeper = self._keeper
        only = self._only
        if self.takes_slot:
            now = keeper.now()
            if self.pieces == 0:
                if only is not None and self._aligner is None:
                    keeper.metrics.time_to_first_token_seconds.observe(now - only.offered_at)
                else:
                    self._first_piece(chunk, now)
            elif self.request.stream:
                keeper.metrics.inter_token_seconds.observe(now - self._piece_at)
            self._piece_at = now
        self.pieces += 1
        self._before = self._last
        self._last = chunk
        if self.key is not None:
            self._remember(chunk)
        if only is not None:
            if self._aligner is not None:
                self._deliver(only, chunk, first=False)
                return
            sink = only.sink
            sink.data(chunk)
            backlog = sink.backlog()
            if backlog > LAGGING_BYTES:
                self._lag(only, backlog)
            return
        for subscriber in self.subscribers():
            if not subscriber.over and subscriber.flight is self:
                self._deliver(subscriber, chunk, first=self.pieces == 1)

    def end(self) -> None:
        if self._aligner is not None:
            rest = self._aligner.end()
            self._aligner = None
            if rest:
                self.call = None  # nothing is left to be cancelled
                self.data(rest)
                if self._only is None and not self._many:
                    return
        if self.takes_slot:
            self.tokens = tokens_at_end(self._before, self._last)
        if self._log is not None and self._keeper.recall.on:
            self._keeper.complete(self, self._log)
        only = self._only
        if only is not None:
            self._only = None
            self._land()
            if only.fold is None:
                only.over = True
                only.sink.end()
                self._keeper.gone(only, None, False)
            else:
                only.end()
            return
        clients = self._take_all()
        self._land()
        for subscriber in clients:
            subscriber.end()

    def lost(self, why: Lost) -> None:
        self._keeper.failed(self, why)
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

    def _split(self, head: ResponseHead) -> None:
        """The error may be the first client's own bad luck (a full engine, a moment's fault), so it
        goes to that one alone.  The others ask once more, together, because a call for each would
        feed an overload; a second error of this kind is everybody's."""
        first, *others = self.subscribers()
        for subscriber in others:
            if subscriber.lagging:
                subscriber.lagging = False
                self._lagging -= 1
        self._only, self._many = first, None
        if others:
            self._keeper.ask_again(self, others)
        if not first.over:
            self._start(first, head)

    def _first_piece(self, chunk: bytes, now: float) -> None:
        observe = self._keeper.metrics.time_to_first_token_seconds.observe
        self._answer_id = id_of(chunk)
        for subscriber in self.subscribers():
            observe(now - subscriber.offered_at)

    def _remember(self, chunk: bytes) -> None:
        size = len(chunk)
        self._replay_left -= size
        if self._replay_left < 0:
            self._keeper.metrics.replays_closed_total["answer_too_long"] += 1
            self.close()
        elif self._log is not None:
            if self._keeper.budget.take_spare(size):
                self._log.append(chunk)
                self.log_bytes += size
            else:
                self._keeper.metrics.replays_closed_total["memory"] += 1
                self.close()

    def _start(self, subscriber: Subscriber, head: ResponseHead) -> None:
        sent_at, offered_at = self.sent_at or 0.0, subscriber.offered_at
        if sent_at >= offered_at:
            told = Told(subscriber.result, sent_at - offered_at, self._head_at - sent_at)
        else:
            told = Told(subscriber.result, 0.0, max(0.0, self._head_at - offered_at))
        subscriber.sink.start(head, told)

    def _land(self) -> None:
        """Closes the books, before any client hears of the end."""
        self.close()
        self.call = None
        if self.sent_at is not None:
            self.service_seconds = self._keeper.now() - self.sent_at
            if self.request.stream and not self.tokens[1]:
                # Not counted by the engine, or cut off: a piece is a token, nearly.
                self.tokens = (self.tokens[0], self.pieces)
        self._keeper.over(self)


def _is_events(head: ResponseHead) -> bool:
    for name, value in head.headers:
        if name == b"content-type":
            return value.lower().startswith(b"text/event-stream")
    return False
