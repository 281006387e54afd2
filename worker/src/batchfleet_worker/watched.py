"""Sees what becomes of each request, where somebody wants to know (access log, traces).

Stands between the data port and the pipeline as the sink of the one and the ticket of the other;
where nobody wants to know it is not there at all, so that it costs nothing.

    data port ──offer──► Watch ──offer──► pipeline
              ◄──────── start/data/end/refuse ◄────
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from batchfleet_worker.exchange import Refusal, Request, ResponseHead, Sink, Ticket, Told
from batchfleet_worker.finished import Finished

Offer = Callable[[Request, Sink], Ticket]


class Watch:
    """``listeners`` hear of each request once, when it is over; ``now`` is monotonic seconds."""

    def __init__(
        self,
        offer: Offer,
        listeners: Sequence[Callable[[Finished], None]],
        now: Callable[[], float],
    ) -> None:
        self._offer = offer
        self._listeners = listeners
        self.now = now

    def offer(self, request: Request, sink: Sink) -> Ticket:
        watched = _Watched(self, request, sink)
        watched.ticket = self._offer(request, watched)
        return watched

    def refused(self, refusal: Refusal, request_id: str) -> None:
        """What was not offered at all: malformed, not allowed, too large."""
        self.tell(Finished(None, request_id, refusal.status, refusal.code, None, 0.0, 0, True))

    def tell(self, finished: Finished) -> None:
        for listener in self._listeners:
            listener(finished)


class _Watched:
    """One request's sink and ticket."""

    __slots__ = (
        "_began",
        "_over",
        "_request",
        "_sent_bytes",
        "_sink",
        "_status",
        "_told",
        "_watch",
        "ticket",
    )

    def __init__(self, watch: Watch, request: Request, sink: Sink) -> None:
        self.ticket: Ticket | None = None  # while ``offer`` has not returned
        self._watch = watch
        self._request = request
        self._sink = sink
        self._began = watch.now()
        self._status = 0
        self._told: Told | None = None
        self._sent_bytes = 0
        self._over = False

    # --- exchange.Sink

    def start(self, head: ResponseHead, told: Told) -> None:
        self._status, self._told = head.status, told
        self._sink.start(head, told)

    def data(self, chunk: bytes) -> None:
        self._sent_bytes += len(chunk)
        self._sink.data(chunk)

    def end(self) -> None:
        self._tell("", whole=True)
        self._sink.end()

    def refuse(self, refusal: Refusal) -> None:
        whole = not self._status
        self._status = self._status or refusal.status
        self._tell(refusal.code, whole=whole)
        self._sink.refuse(refusal)

    def backlog(self) -> int:
        return self._sink.backlog()

    # --- exchange.Ticket

    def leave(self) -> None:
        self._tell("client_left", whole=False)
        if self.ticket is not None:
            self.ticket.leave()

    def drained(self) -> None:
        if self.ticket is not None:
            self.ticket.drained()

    def _tell(self, code: str, *, whole: bool) -> None:
        if self._over:
            return
        self._over = True
        request = self._request
        self._watch.tell(
            Finished(
                request,
                request.request_id,
                self._status,
                code,
                self._told,
                self._watch.now() - self._began,
                self._sent_bytes,
                whole,
            )
        )
