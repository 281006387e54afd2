"""Who shares a flight's answer: each gets it in its own form, at its own pace.

The half of a :class:`Flight` that looks to the clients.  Most flights have one client for all their
life, so that one is kept without a table.  The engine is paused only while every client lags; one
that lags while others go on may fall behind so far and no further.
"""

from __future__ import annotations

from batchfleet_worker.errors import TOO_SLOW
from batchfleet_worker.events import Aligner, Renaming, own_id, without_usage
from batchfleet_worker.exchange import LAGGING_BYTES, Call
from batchfleet_worker.subscriber import Keeper, Subscriber


class Audience:
    """``clients``: all who ever shared it."""

    __slots__ = (
        "_aligner",
        "_answer_id",
        "_keeper",
        "_lagging",
        "_many",
        "_only",
        "_paused",
        "call",
        "clients",
    )

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self.call: Call | None = None
        self.clients = 0
        self._only: Subscriber | None = None
        self._many: dict[Subscriber, None] | None = None  # in order of arrival
        self._lagging = 0
        self._paused = False
        self._aligner: Aligner | None = None  # for a stream that is cut to each client's form
        self._answer_id: bytes | None = None

    def subscribers(self) -> tuple[Subscriber, ...]:
        """Those who share it now, in order of arrival."""
        if self._only is not None:
            return (self._only,)
        return tuple(self._many) if self._many else ()

    def caught_up(self, subscriber: Subscriber) -> None:
        if self._only is subscriber or (self._many is not None and subscriber in self._many):
            subscriber.lagging = False
            self._lagging -= 1
            if self._paused:
                self._resume()

    def _add(self, subscriber: Subscriber) -> None:
        self.clients += 1
        if self._many is not None:
            self._many[subscriber] = None
        elif self._only is not None:
            self._many = {self._only: None, subscriber: None}
            self._only = None
        else:
            self._only = subscriber

    def _discard(self, subscriber: Subscriber) -> bool:
        """Whether it was there."""
        many = self._many
        if many is not None:
            if subscriber not in many:
                return False
            del many[subscriber]
        elif self._only is subscriber:
            self._only = None
        else:
            return False
        if subscriber.lagging:
            subscriber.lagging = False
            self._lagging -= 1
        return True

    def _take_all(self) -> tuple[Subscriber, ...]:
        clients = self.subscribers()
        self._only = self._many = None
        return clients

    def _deliver(self, subscriber: Subscriber, chunk: bytes, *, first: bool) -> None:
        """``first``: the answer begins with this chunk."""
        sink = subscriber.sink
        renaming = subscriber.renaming
        if renaming is None and subscriber.token is not None and self._answer_id is not None:
            own = own_id(self._answer_id, subscriber.token)
            renaming = subscriber.renaming = Renaming(self._answer_id, own)
        if self._aligner is not None:
            if subscriber.hides_usage:
                chunk = without_usage(chunk)
                if not chunk:
                    return
            if renaming is not None:
                chunk = renaming.events(chunk)
        elif first and renaming is not None:
            chunk = renaming.body(chunk)
        sink.data(chunk)
        backlog = sink.backlog()
        if backlog > LAGGING_BYTES:
            self._lag(subscriber, backlog)

    def _lag(self, subscriber: Subscriber, backlog: int) -> None:
        if subscriber.over or subscriber.flight is not self:
            return
        if not subscriber.lagging:
            subscriber.lagging = True
            self._lagging += 1
        if self._many is not None and self._lagging < len(self._many):
            if backlog > self._keeper.lag_bytes:
                subscriber.refuse(TOO_SLOW)
        elif not self._paused and self.call is not None:
            self._paused = True
            self.call.pause()

    def _resume(self) -> None:
        self._paused = False
        if self.call is not None:
            self.call.resume()
