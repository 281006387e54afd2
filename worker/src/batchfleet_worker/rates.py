"""Rate limits: token buckets for requests and for tokens, of a tenant or of everybody.

``Admission.refusal`` asks for every request before it may join another, since an answer that is
shared was asked for all the same.  Requests are paid before, tokens after: what an answer costs is
not known sooner, so a bucket of tokens may go below zero, and then lets nobody in until it is back.

The numbers are this pod's share; a client whose connections spread unevenly over the pods meets its
limit earlier.  Pure: the time is an argument.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable

from batchfleet_worker.live import RateLimit, Scope

BURST_SECONDS = 10.0
"""A bucket holds so many seconds of its rate, and at least one request or token: room for a page
that asks twenty things at once, not for a minute's worth at a stroke."""

MOST_TENANTS = 10_000
"""The least recently seen is forgotten, which gives it a full bucket, as its rest would have."""

LONGEST_RETRY_SECONDS = 3600


class _Bucket:
    __slots__ = ("at", "level")

    def __init__(self, level: float, now: float) -> None:
        self.level = level
        self.at = now

    def fill(self, per_second: float, now: float) -> float:
        """To now, at the rate that holds now.  Returns the level."""
        level = self.level + (now - self.at) * per_second
        self.at = now
        self.level = level = min(level, _burst(per_second))
        return level


class _Purse:
    """One tenant's two buckets; None: it has not been asked yet."""

    __slots__ = ("requests", "tokens")

    def __init__(self) -> None:
        self.requests: _Bucket | None = None
        self.tokens: _Bucket | None = None


class Rates:
    """``limited`` False: there is nothing to ask."""

    def __init__(self) -> None:
        self.limited = False
        self._everybody: RateLimit | None = None
        self._each: RateLimit | None = None
        self._named: dict[str, RateLimit] = {}
        self._service = _Purse()
        self._tenants: OrderedDict[str, _Purse] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tenants)

    def apply(self, limits: Iterable[RateLimit]) -> None:
        """New rates hold from now on; what is in the buckets stays, as the operator changes a
        pod's share whenever the number of pods changes."""
        self._everybody = self._each = None
        self._named = {}
        for limit in limits:
            if limit.scope is Scope.SERVICE:
                self._everybody = limit
            elif limit.tenant is None:
                self._each = limit
            else:
                self._named[limit.tenant] = limit
        self.limited = bool(self._everybody or self._each or self._named)

    def ask(self, tenant: str, now: float) -> int:
        """Takes one request: 0.  Or takes nothing: after how many seconds to come back."""
        wait_seconds = 0.0
        purses = list(self._purses(tenant))
        for limit, purse in purses:
            wait_seconds = max(wait_seconds, _missing_seconds(limit, purse, now))
        if wait_seconds > 0:
            return min(LONGEST_RETRY_SECONDS, max(1, math.ceil(wait_seconds)))
        for _, purse in purses:
            if purse.requests is not None:
                purse.requests.level -= 1
        return 0

    def pay(self, tenant: str, tokens: int, now: float) -> None:
        """What an answer cost."""
        for limit, purse in self._purses(tenant):
            if limit.tokens_per_minute is not None:
                per_second = limit.tokens_per_minute / 60
                if purse.tokens is None:
                    purse.tokens = _Bucket(_burst(per_second), now)
                purse.tokens.fill(per_second, now)
                purse.tokens.level -= tokens

    def _purses(self, tenant: str) -> Iterable[tuple[RateLimit, _Purse]]:
        if self._everybody is not None:
            yield self._everybody, self._service
        limit = self._named.get(tenant, self._each)
        if limit is not None:
            purse = self._tenants.get(tenant)
            if purse is None:
                purse = self._tenants[tenant] = _Purse()
                if len(self._tenants) > MOST_TENANTS:
                    self._tenants.popitem(last=False)
            else:
                self._tenants.move_to_end(tenant)
            yield limit, purse


def _burst(per_second: float) -> float:
    return max(1.0, BURST_SECONDS * per_second)


def _missing_seconds(limit: RateLimit, purse: _Purse, now: float) -> float:
    """Until one more request may be taken."""
    missing = 0.0
    if limit.requests_per_minute is not None:
        per_second = limit.requests_per_minute / 60
        if purse.requests is None:
            purse.requests = _Bucket(_burst(per_second), now)
        missing = (1 - purse.requests.fill(per_second, now)) / per_second
    else:
        purse.requests = None
    if limit.tokens_per_minute is not None:
        per_second = limit.tokens_per_minute / 60
        if purse.tokens is None:
            purse.tokens = _Bucket(_burst(per_second), now)
        if purse.tokens.fill(per_second, now) <= 0:
            missing = max(missing, (1 - purse.tokens.level) / per_second)
    return missing
