"""Answers that were given, kept for a while to be given again.

The pipeline looks here before it starts a flight and puts here what ``cacheable`` lets pass.  Plain
values and dictionaries, time as an argument, no timer: what has expired leaves when somebody looks
or puts.  Every byte comes out of the one budget and goes back when a request body needs it.

Three orders, all O(1): by age (all live equally long, so the oldest expires first), and per tenant
by last use.  A tenant's answers are only ever found under that tenant's name.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from enum import StrEnum

from batchfleet_worker.exchange import ResponseHead
from batchfleet_worker.memory import Budget

ENTRY_BYTES = 1024
"""What an entry takes beside its body: about 600 bytes of objects (measured), and a head."""

TENANT_SHARE = 0.5
"""How much of the cache one tenant may hold while others hold something."""

AT_ONCE = 16
"""How many may leave in one go where waiting does no harm: at 1 us each nobody feels it."""


class Gone(StrEnum):
    """Why an answer left; the label of ``cache_evicted_total``."""

    EXPIRED = "expired"
    ROOM = "room"  # another answer needed its bytes
    QUOTA = "quota"  # its tenant held more than its share
    PRESSURE = "pressure"  # requests needed its bytes
    REPLACED = "replaced"  # by a newer answer to the same request
    FLUSHED = "flushed"  # the engine, its model or the settings changed


class Answer:
    """A complete answer: the head, and every byte of the body as the engine sent it."""

    __slots__ = ("body", "head", "key", "n_bytes", "stored_at", "tenant")

    def __init__(
        self, key: bytes, tenant: str, head: ResponseHead, body: bytes, stored_at: float
    ) -> None:
        self.key = key
        self.tenant = tenant
        self.head = head
        self.body = body
        self.stored_at = stored_at
        self.n_bytes = len(body) + ENTRY_BYTES


class _Holding:
    """What one tenant has here, least recently used first."""

    __slots__ = ("answers", "n_bytes")

    def __init__(self) -> None:
        self.answers: OrderedDict[bytes, Answer] = OrderedDict()
        self.n_bytes = 0


class AnswerCache:
    """``ttl_seconds`` or ``max_bytes`` of 0: keeps nothing.

    For the metrics: ``hits``, ``misses``, ``stored``, ``declined`` (too large, or no room in the
    budget), ``evicted`` by reason, ``n_bytes``.
    """

    __slots__ = (
        "_answers",
        "_budget",
        "_holdings",
        "declined",
        "evicted",
        "hits",
        "max_bytes",
        "misses",
        "n_bytes",
        "stored",
        "ttl_seconds",
    )

    def __init__(self, budget: Budget, max_bytes: int, ttl_seconds: float) -> None:
        self.max_bytes = max_bytes
        self.ttl_seconds = ttl_seconds
        self.n_bytes = 0
        self.hits = 0
        self.misses = 0
        self.stored = 0
        self.declined = 0
        self.evicted: dict[str, int] = dict.fromkeys(Gone, 0)
        # An OrderedDict, because taking the first out of a plain dict passes over every gap
        # that earlier ones have left.
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()  # oldest first
        self._holdings: dict[str, _Holding] = {}
        self._budget = budget
        budget.on_pressure.append(self._free)

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def on(self) -> bool:
        return self.ttl_seconds > 0 and self.max_bytes > 0

    def get(
        self, key: bytes, tenant: str, now: float, max_age_seconds: float = math.inf
    ) -> Answer | None:
        """An answer younger than ``max_age_seconds``; one that is older stays for others."""
        self.expire(now)
        answer = self._answers.get(key)
        if (
            answer is None
            or answer.tenant != tenant
            or now - answer.stored_at >= min(max_age_seconds, self.ttl_seconds)
        ):
            self.misses += 1
            return None
        self._holdings[tenant].answers.move_to_end(key)
        self.hits += 1
        return answer

    def put(self, key: bytes, tenant: str, head: ResponseHead, body: bytes, now: float) -> bool:
        """Whether it was kept.  The caller vouches that it is cacheable and the tenant's own."""
        self.expire(now)
        if not self.on:
            return False
        answer = Answer(key, tenant, head, body, now)
        n_bytes = answer.n_bytes
        if n_bytes > self.max_bytes * TENANT_SHARE:
            self.declined += 1
            return False
        earlier = self._answers.get(key)
        if earlier is not None:
            self._remove(earlier, Gone.REPLACED)
        self._keep_quota(tenant, n_bytes)
        while self.n_bytes + n_bytes > self.max_bytes:
            self._make_room(tenant)
        if not self._budget.take_spare(n_bytes):
            self.declined += 1
            return False
        holding = self._holdings.get(tenant)
        if holding is None:
            holding = self._holdings[tenant] = _Holding()
        holding.answers[key] = answer
        holding.n_bytes += n_bytes
        self._answers[key] = answer
        self.n_bytes += n_bytes
        self.stored += 1
        return True

    def flush(self) -> None:
        """Nothing of before may be given any more: the engine or its model is another."""
        self.evicted[Gone.FLUSHED] += len(self._answers)
        self._budget.give(self.n_bytes)
        self.n_bytes = 0
        self._answers.clear()
        self._holdings.clear()

    def change(self, max_bytes: int, ttl_seconds: float) -> None:
        """Holds at once, for what is kept already too."""
        self.max_bytes = max_bytes
        self.ttl_seconds = ttl_seconds
        if not self.on:
            self.flush()
        while self.n_bytes > max_bytes:
            self._remove(next(iter(self._answers.values())), Gone.ROOM)

    def expire(self, now: float) -> None:
        """Lets a few go that are too old.  Every look and every put does; so may a slow tick."""
        answers = self._answers
        for _ in range(AT_ONCE):
            if not answers:
                return
            oldest = next(iter(answers.values()))
            if now - oldest.stored_at < self.ttl_seconds:
                return
            self._remove(oldest, Gone.EXPIRED)

    # --- inside ------------------------------------------------------------------------------

    def _keep_quota(self, tenant: str, n_bytes: int) -> None:
        """A tenant that had all to itself shrinks back step by step, as it puts."""
        share = self.max_bytes * TENANT_SHARE
        freed = 0
        removed = 0
        while (
            len(self._holdings) > 1
            and tenant in self._holdings
            and self._holdings[tenant].n_bytes + n_bytes > share
            and (removed < AT_ONCE or freed < n_bytes)
        ):
            victim = next(iter(self._holdings[tenant].answers.values()))
            freed += victim.n_bytes
            removed += 1
            self._remove(victim, Gone.QUOTA)

    def _make_room(self, tenant: str) -> None:
        """Takes from who has more than an equal part, the one who puts first; else the oldest.

        A newcomer thus gets its part of a full cache, and a busy tenant wears out its own answers
        rather than those of others.
        """
        holding = self._holdings.get(tenant)
        if holding is not None and holding.n_bytes * len(self._holdings) >= self.max_bytes:
            victim = next(iter(holding.answers.values()))
        else:
            victim = next(iter(self._answers.values()))
        self._remove(victim, Gone.ROOM)

    def _free(self, n_bytes: int) -> None:
        """Asked by the budget: bodies go before answers that can be computed again."""
        wanted = self.n_bytes - n_bytes
        while self._answers and self.n_bytes > wanted:
            self._remove(next(iter(self._answers.values())), Gone.PRESSURE)

    def _remove(self, answer: Answer, why: Gone) -> None:
        del self._answers[answer.key]
        holding = self._holdings[answer.tenant]
        del holding.answers[answer.key]
        holding.n_bytes -= answer.n_bytes
        if not holding.answers:
            del self._holdings[answer.tenant]
        self.n_bytes -= answer.n_bytes
        self._budget.give(answer.n_bytes)
        self.evicted[why] += 1
