"""Finished answers in front of the flights: what is kept of them, and giving it again.

``Pipeline`` looks here after the rate limits and before flights and queue; an answer found here
costs the engine nothing.  ``cache`` holds the bytes, ``cacheable`` knows what may be kept; here
they are cut to the client: without the token count that it did not ask for, under an id of its own,
and a whole answer from a stream where ``crossover`` allows that.  Off unless a service asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from batchfleet_worker.cache import Answer, AnswerCache
from batchfleet_worker.cacheable import not_cacheable
from batchfleet_worker.crossover import may_cross, wants_usage
from batchfleet_worker.events import body_with_id, id_of, own_id, with_id, without_usage
from batchfleet_worker.exchange import Request, Result, Sink, Told
from batchfleet_worker.flight import Flight
from batchfleet_worker.fold import Fold
from batchfleet_worker.live import Merging, MergingSettings
from batchfleet_worker.memory import Budget
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.tokens import tokens_at_end
from batchfleet_worker.transcript import Unfolded

_TOLD = Told(Result.CACHED, 0.0, 0.0)
_WHOLE, _STREAM = b"w", b"s"  # the two forms of one answer


class Recall:
    """``on``: whether anything can be found here.  ``served`` is told of each answer that is given:
    whose, prompt tokens, completion tokens; for the rate limits."""

    __slots__ = ("_budget", "_cache", "_flushed_at", "_metrics", "_settings", "on", "served")

    def __init__(self, budget: Budget, metrics: Metrics) -> None:
        self._budget = budget
        self._metrics = metrics
        self._cache = AnswerCache(budget, 0, 0)
        self._settings: tuple[int, int] = (0, 0)
        self._flushed_at = -math.inf
        self.on = False
        self.served: Callable[[str, int, int], None] | None = None

    def apply(self, merging: MergingSettings) -> None:
        """Any change starts afresh.  In mode Observe nobody is answered from here."""
        ttl_seconds = merging.cache_ttl_seconds if merging.mode is Merging.ENFORCE else 0
        settings = (merging.cache_mebibytes * 1024 * 1024, ttl_seconds)
        if settings != self._settings:
            self._settings = settings
            self._cache.flush()
            self._cache.change(*settings)
        self.on = self._cache.on

    def flush(self, now: float) -> None:
        """The engine, or what it serves, is another: no answer to what was sent before is kept."""
        self._cache.flush()
        self._flushed_at = now

    def answer(self, key: bytes, request: Request, sink: Sink, now: float) -> bool:
        """Whether the client got an earlier answer, to its end."""
        wish = request.head.merge_part.wish
        if not wish.read:
            return False
        tenant = request.head.caller.tenant
        form = _STREAM if request.stream else _WHOLE
        found = self._cache.get(key + form, tenant, now, wish.max_age_seconds)
        if found is not None:
            self._give(found, request, sink)
            return True
        fields = request.fields
        if request.stream or fields is None or not may_cross(fields):
            return False
        found = self._cache.get(key + _STREAM, tenant, now, wish.max_age_seconds)
        return found is not None and self._give_folded(found, request, sink)

    def keep(self, flight: Flight, key: bytes, log: list[bytes], now: float) -> None:
        """After a flight's orderly end, if its answer is fit to be given again."""
        request, head = flight.request, flight.head_received
        if head is None or (request.stream and not flight.carries_usage):
            return
        if flight.sent_at is None or flight.sent_at <= self._flushed_at:
            return
        part = request.head.merge_part
        body = b"".join(log)
        choices = 0 if part.computed else request.weight
        why_not = not_cacheable(part.wish, head, body, self._cache.ttl_seconds, choices=choices)
        if why_not is not None:
            return
        form = _STREAM if request.stream else _WHOLE
        self._cache.put(key + form, request.head.caller.tenant, head, body, now)

    def count(self) -> None:
        """Brings the metrics up to date; asked when they are read."""
        cache, metrics = self._cache, self._metrics
        metrics.cache_hits_total = cache.hits
        metrics.cache_misses_total = cache.misses
        metrics.cache_stored_total = cache.stored
        metrics.cache_declined_total = cache.declined
        metrics.cache_evicted_total.update(cache.evicted)
        metrics.cache_bytes = cache.n_bytes

    def _give(self, found: Answer, request: Request, sink: Sink) -> None:
        body = found.body
        old = id_of(body)
        if request.stream and not wants_usage(request.fields or {}):
            body = without_usage(body)
        if old is not None:
            own = own_id(old, request.request_id.encode())
            body = (with_id if request.stream else body_with_id)(body, old, own)
        self._count_served(found)
        sink.start(found.head, _TOLD)
        sink.data(body)
        sink.end()

    def _give_folded(self, found: Answer, request: Request, sink: Sink) -> bool:
        failed: list[Unfolded] = []
        fold = Fold(sink, self._budget, request.request_id.encode(), failed.append)
        fold.start(found.head, _TOLD)
        fold.data(found.body)
        if not failed:
            fold.end()
        if failed:
            return False
        self._count_served(found)
        return True

    def _count_served(self, found: Answer) -> None:
        self._metrics.time_to_first_token_seconds.observe(0.0)
        self._metrics.request_seconds.observe(0.0)
        prompt, completion = tokens_at_end(b"", found.body)
        self._metrics.tokens_served_total["prompt"] += prompt
        self._metrics.tokens_served_total["completion"] += completion
        if self.served is not None:
            self.served(found.tenant, prompt, completion)
