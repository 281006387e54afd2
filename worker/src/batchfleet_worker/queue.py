"""The waiting line for the engine: who goes next, and removal from anywhere.

``Admission`` keeps two, one for interactive and one for batch traffic, and asks each for its head.
Within a line:

    priority, higher first ── tenants, least served first ── order of arrival

and two ways past that, so that nobody waits for ever: a priority counts for AGING_SECONDS of
waiting per step and no more, and every eighth of a priority's turns is its longest waiter's,
whoever that is.

Every step is O(log n).  Entries that left are dropped from the heaps when they come to the top, and
all at once where they are most of a heap.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import count
from typing import Generic, Protocol, TypeVar

from batchfleet_worker.fairness import Account, Accounts

AGING_SECONDS = 10.0
"""One who waits gains a step of priority in so many seconds.  At the default timeout of 300 s a
request can make up 30 steps; a priority 100 above is never reached, which is what it is for."""

OLDEST_EVERY = 8
"""Turns of a priority of which one is its longest waiter's.  An eighth of the engine is what that
costs fairness; without it a tenant that is ahead could be held back by ever new ones."""


class Waiter(Protocol):
    """What the line needs to know of a flight."""

    @property
    def priority(self) -> int: ...

    @property
    def weight(self) -> int: ...

    @property
    def tenant(self) -> str: ...

    @property
    def enqueued_at(self) -> float: ...

    def __hash__(self) -> int: ...


T = TypeVar("T", bound=Waiter)

_FEW = 64  # left-over entries that are not worth a sweep


class _Place(Generic[T]):
    """One waiting flight.  No named tuple: a generic one compiles to a library that crashes."""

    __slots__ = ("account", "enqueued_at", "level", "number", "waiter")

    def __init__(self, waiter: T, number: int, level: Level[T], account: Account) -> None:
        self.enqueued_at = waiter.enqueued_at
        self.number = number  # unique, in order of arrival
        self.waiter = waiter
        self.level = level
        self.account = account


_Entry = tuple[float, int, _Place[T]]
"""A place as it stands in the heaps: when it came, its number, which is never the same."""


class _Share(Generic[T]):
    """What one tenant has waiting at one priority."""

    __slots__ = ("number", "places", "waiting", "weight")

    def __init__(self, number: int) -> None:
        self.number = number
        self.places: list[_Entry[T]] = []
        self.waiting = 0
        self.weight = 0


class Level(Generic[T]):
    """All who wait at one priority.  ``queue`` only."""

    __slots__ = ("ages", "claim", "order", "priority", "shares", "turn", "waiting", "weight")

    def __init__(self, priority: int) -> None:
        self.priority = priority
        self.ages: list[_Entry[T]] = []
        self.claim = math.inf  # of its oldest, as it stands in ``Line._claims``
        self.order: list[tuple[float, int, Account]] = []  # tokens as they were, tie, tenant
        self.shares: dict[Account, _Share[T]] = {}
        self.waiting = 0
        self.weight = 0
        self.turn = 0


class Line(Generic[T]):
    """Iterating gives a snapshot in order of arrival."""

    __slots__ = ("_accounts", "_claims", "_levels", "_numbers", "_places", "_priorities", "weight")

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._numbers = count()
        self._places: dict[T, _Place[T]] = {}
        self._levels: dict[int, Level[T]] = {}
        self._priorities: list[int] = []  # of the levels, ascending
        self._claims: list[tuple[float, int, Level[T]]] = []  # by age, tie, who claims
        self.weight = 0  # slots that all who wait would take

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, waiter: T) -> bool:
        return waiter in self._places

    def __iter__(self) -> Iterator[T]:
        return iter([place.waiter for place in sorted(self._places.values(), key=_arrival)])

    def push(self, waiter: T, now: float) -> None:
        """``waiter.enqueued_at`` may be past: one that comes back keeps its place."""
        priority = waiter.priority
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = Level(priority)
            insort(self._priorities, priority)
        account = self._accounts.enter(waiter.tenant, now)
        place = _Place(waiter, next(self._numbers), level, account)
        entry = (place.enqueued_at, place.number, place)
        self._places[waiter] = place
        heapq.heappush(level.ages, entry)
        if level.ages[0][2] is place:
            self._claim(level, place)
        share = level.shares.get(account)
        if share is None:
            share = level.shares[account] = _Share(place.number)
            account.levels.add(level)
            heapq.heappush(level.order, (account.tokens, share.number, account))
        heapq.heappush(share.places, entry)
        self._weigh(place, share, 1)

    def remove(self, waiter: T) -> None:
        """KeyError when it is not here."""
        place = self._places.pop(waiter)
        level, account = place.level, place.account
        self._accounts.waiting -= 1
        share = level.shares[account]
        self._weigh(place, share, -1)
        if not share.waiting:
            del level.shares[account]
            account.levels.discard(level)
        if not level.waiting:
            del self._levels[level.priority]
            del self._priorities[bisect_left(self._priorities, level.priority)]
        else:
            self._sweep(level, share)

    def top(self) -> int:
        """The highest priority that waits; IndexError when empty."""
        return self._priorities[-1]

    def head(self) -> T:
        """Whose turn it is; the same until somebody comes or goes.  IndexError when empty."""
        top = self._levels[self._priorities[-1]]
        aged = self._aged()
        if aged is not top:
            return self._oldest(aged).waiter
        if top.turn % OLDEST_EVERY == OLDEST_EVERY - 1:
            return self._oldest(top).waiter
        return self._fairest(top).waiter

    def take(self, waiter: T, now: float) -> None:
        """Removes one that is sent now, and charges its tenant."""
        place = self._places[waiter]
        place.level.turn += 1
        self.remove(waiter)
        self._accounts.sent(place.account, waiter.weight, now)

    def oldest_at(self) -> float:
        """When the longest waiting came; ValueError when empty."""
        return min(self._oldest(level).enqueued_at for level in self._levels.values())

    def newest(self) -> T:
        """The last to come; StopIteration when empty."""
        return next(reversed(self._places))

    def ahead(self, priority: int, tenant: str, weight: int) -> int:
        """Slots that are taken before a newcomer's, as far as can be told, its own included.

        All that waits above; at its own priority no more than all, and no more than as much for
        each tenant as the newcomer's own has waiting.
        """
        above = 0
        for index in range(len(self._priorities) - 1, -1, -1):
            level = self._levels[self._priorities[index]]
            if level.priority < priority:
                break
            if level.priority > priority:
                above += level.weight
                continue
            account = self._accounts.known(tenant)
            share = level.shares.get(account) if account is not None else None
            if share is None:
                fair = weight * (len(level.shares) + 1)
            else:
                fair = (share.weight + weight) * len(level.shares)
            return above + min(level.weight + weight, fair)
        return above + weight

    # --- inside ----------------------------------------------------------------------------

    def _weigh(self, place: _Place[T], share: _Share[T], sign: int) -> None:
        weight = sign * place.waiter.weight
        self.weight += weight
        place.level.weight += weight
        place.level.waiting += sign
        share.weight += weight
        share.waiting += sign

    def _sweep(self, level: Level[T], share: _Share[T]) -> None:
        """Where most of a heap has left, the rest is laid anew: it never grows with what came."""
        if len(level.ages) > 2 * level.waiting + _FEW:
            level.ages = [each for each in level.ages if self._is_here(each[2])]
            heapq.heapify(level.ages)
        if len(share.places) > 2 * share.waiting + _FEW:
            share.places = [each for each in share.places if self._is_here(each[2])]
            heapq.heapify(share.places)
        if len(level.order) > 2 * len(level.shares) + _FEW:
            level.order = [
                (account.tokens, each.number, account) for account, each in level.shares.items()
            ]
            heapq.heapify(level.order)

    def _is_here(self, place: _Place[T]) -> bool:
        return self._places.get(place.waiter) is place

    def _oldest(self, level: Level[T]) -> _Place[T]:
        while not self._is_here(level.ages[0][2]):
            heapq.heappop(level.ages)
        return level.ages[0][2]

    def _claim(self, level: Level[T], oldest: _Place[T]) -> None:
        claim = _age(oldest, level.priority)
        if claim < level.claim:
            level.claim = claim
            heapq.heappush(self._claims, (claim, next(self._numbers), level))
            if len(self._claims) > 2 * len(self._levels) + _FEW:
                self._claims = [each for each in self._claims if self._stands(each)]
                heapq.heapify(self._claims)

    def _stands(self, entry: tuple[float, int, Level[T]]) -> bool:
        """Whether a claim is its level's last, and the level is there."""
        claim, _, level = entry
        return claim == level.claim and self._levels.get(level.priority) is level

    def _aged(self) -> Level[T]:
        """The level whose oldest has the strongest claim by priority and waiting together."""
        while True:
            entry = self._claims[0]
            if not self._stands(entry):
                heapq.heappop(self._claims)
                continue
            claim, number, level = entry
            current = _age(self._oldest(level), level.priority)
            if current == claim:
                return level
            level.claim = current
            heapq.heapreplace(self._claims, (current, number, level))

    def _fairest(self, level: Level[T]) -> _Place[T]:
        while True:
            tokens, number, account = level.order[0]
            share = level.shares.get(account)
            if share is None or share.number != number:
                heapq.heappop(level.order)
            elif tokens != account.tokens:
                heapq.heapreplace(level.order, (account.tokens, number, account))
            else:
                break
        while not self._is_here(share.places[0][2]):
            heapq.heappop(share.places)
        return share.places[0][2]


def _arrival(place: _Place[T]) -> tuple[float, int]:
    return place.enqueued_at, place.number


def _age(place: _Place[T], priority: int) -> float:
    return place.enqueued_at - AGING_SECONDS * priority
