"""Who had how much of the engine: a counter of tokens per tenant, for as long as somebody waits.

``queue`` lets the tenant with the least go first.  The counter is virtual time, after "Fairness in
Serving Large Language Models" (OSDI 2024): it is moved on when a call is sent, by what this
tenant's calls have cost on average, so that a tenant cannot take all slots before its first answer
is counted.  A tenant that comes, or comes back, starts where those who wait are: what it did not
use is not saved up, and what was used while nobody waited is not held against anyone.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchfleet_worker.queue import Level

MOST_TENANTS = 10_000
"""The least recently seen is forgotten: some 2 MB at most, however many names clients invent."""

COMPLETION_WEIGHT = 2
"""A token that is generated costs about twice one that is read (the paper's own choice)."""

QUIET_SECONDS = 10.0
"""Nobody waited for so long: the next to wait begin a new account.  Shorter, and a queue that runs
empty for a moment at the edge of saturation would forget who filled it."""

_ADAPT = 0.125  # of each call into the averages: eight calls to follow a tenant's change


class Account:
    """One tenant's.  ``levels``: where it waits now."""

    __slots__ = ("cost", "levels", "period", "tokens")

    def __init__(self) -> None:
        self.tokens = 0.0
        self.cost = 0.0  # tokens per slot taken, on average; 0: not known yet
        self.period = 0
        self.levels: set[Level[Any]] = set()


class Accounts:
    """All tenants'.  ``floor``: the counter of the tenant that was served last, which had the least
    of those who waited: where newcomers start."""

    def __init__(self, most: int = MOST_TENANTS) -> None:
        self.floor = 0.0
        self.waiting = 0  # calls, of all tenants
        self._most = most
        self._by_tenant: OrderedDict[str, Account] = OrderedDict()
        self._cost = 1.0
        self._period = 0
        self._waited_at = float("-inf")

    def __len__(self) -> int:
        return len(self._by_tenant)

    def enter(self, tenant: str, now: float) -> Account:
        """The account of one who has to wait."""
        if not self.waiting and now - self._waited_at > QUIET_SECONDS:
            self._period += 1
        self.waiting += 1
        self._waited_at = now
        account = self._of(tenant)
        if account.period != self._period:
            account.period, account.tokens = self._period, self.floor
        elif not account.levels and account.tokens < self.floor:
            account.tokens = self.floor
        return account

    def known(self, tenant: str) -> Account | None:
        return self._by_tenant.get(tenant)

    def sent(self, account: Account, weight: int, now: float) -> None:
        """One who waited goes to the engine."""
        self._waited_at = now
        self.floor = max(self.floor, account.tokens)
        account.tokens += weight * (account.cost or self._cost)

    def served(self, tenant: str, weight: int, prompt_tokens: int, completion_tokens: int) -> None:
        """What one call cost in the end, for the averages."""
        cost = (prompt_tokens + COMPLETION_WEIGHT * completion_tokens) / weight
        self._cost += (cost - self._cost) * _ADAPT
        account = self._of(tenant)
        account.cost += (cost - account.cost) * (_ADAPT if account.cost else 1.0)

    def _of(self, tenant: str) -> Account:
        account = self._by_tenant.get(tenant)
        if account is None:
            account = self._by_tenant[tenant] = Account()
            if len(self._by_tenant) > self._most:
                self._by_tenant.popitem(last=False)
        else:
            self._by_tenant.move_to_end(tenant)
        return account
