"""A kept answer is given again only to who may have it, only while it is young, and never at the
cost of a request that needs the memory."""

from __future__ import annotations

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from batchfleet_worker.cache import AT_ONCE, ENTRY_BYTES, TENANT_SHARE, AnswerCache, Gone
from batchfleet_worker.exchange import ResponseHead
from batchfleet_worker.memory import Budget

HEAD = ResponseHead(200, ((b"content-type", b"application/json"),), 2)


def cache(
    entries: float = 10, ttl_seconds: float = 30.0, budget: Budget | None = None
) -> AnswerCache:
    """Room for so many answers of two bytes."""
    room = int(entries * (ENTRY_BYTES + 2))
    return AnswerCache(budget or Budget(1 << 30), room, ttl_seconds)


def key(name: object) -> bytes:
    return str(name).encode()


def put(into: AnswerCache, name: object, tenant: str = "a", now: float = 0.0) -> bool:
    return into.put(key(name), tenant, HEAD, b"{}", now)


def has(of: AnswerCache, name: object, tenant: str = "a", now: float = 0.0) -> bool:
    return of.get(key(name), tenant, now) is not None


def test_an_answer_comes_back_as_it_was_put() -> None:
    kept = cache()
    assert put(kept, 1)
    answer = kept.get(key(1), "a", 29.9)
    assert answer is not None
    assert (answer.head, answer.body, answer.stored_at) == (HEAD, b"{}", 0.0)
    assert (kept.hits, kept.misses, kept.stored) == (1, 0, 1)


def test_it_is_gone_when_its_time_is_over() -> None:
    kept = cache()
    put(kept, 1)
    assert not has(kept, 1, now=30.0)
    assert (len(kept), kept.n_bytes, kept.evicted[Gone.EXPIRED], kept.misses) == (0, 0, 1, 1)


def test_a_client_may_want_a_younger_one() -> None:
    kept = cache()
    put(kept, 1)
    assert kept.get(key(1), "a", 5.0, max_age_seconds=5) is None
    assert kept.get(key(1), "a", 5.0, max_age_seconds=6) is not None


def test_nobody_gets_what_another_tenant_was_answered() -> None:
    kept = cache()
    put(kept, 1, "a")
    assert not has(kept, 1, "b")
    assert has(kept, 1, "a")


def test_the_least_recently_used_leaves_first() -> None:
    kept = cache(3)
    for name in (1, 2, 3):
        put(kept, name)
    assert has(kept, 1)
    put(kept, 4)
    assert [has(kept, name) for name in (1, 2, 3, 4)] == [True, False, True, True]
    assert kept.evicted[Gone.ROOM] == 1


def test_a_newcomer_gets_in_although_one_tenant_has_filled_everything() -> None:
    kept = cache(10)
    for name in range(10):
        put(kept, name, "a")
    assert len(kept) == 10  # alone, it may have all
    for name in range(5):
        put(kept, f"b{name}", "b")
    assert all(has(kept, f"b{name}", "b") for name in range(5))
    assert sum(has(kept, name, "a") for name in range(10)) == 5


def test_a_busy_tenant_wears_out_its_own_answers() -> None:
    kept = cache(10)
    for name in range(3):
        put(kept, f"b{name}", "b")
    for name in range(100):
        put(kept, name, "a")
    assert all(has(kept, f"b{name}", "b") for name in range(3))
    assert sum(has(kept, name, "a") for name in range(100)) == 5
    assert kept.evicted[Gone.QUOTA] == 95


def test_many_small_tenants_do_not_lock_each_other_out() -> None:
    kept = cache(10)
    for name in range(30):
        assert put(kept, name, f"tenant {name}", now=float(name) / 10)
    assert len(kept) == 10
    assert has(kept, 29, "tenant 29", now=3.0)


def test_what_is_too_large_is_declined() -> None:
    kept = cache(4)
    assert not kept.put(b"k", "a", HEAD, b"x" * (3 * ENTRY_BYTES), 0.0)
    assert (kept.declined, len(kept)) == (1, 0)


def test_bodies_go_before_answers() -> None:
    budget = Budget(10 * (ENTRY_BYTES + 2))
    kept = cache(10, budget=budget)
    for name in range(10):
        put(kept, name)
    assert budget.take(3 * ENTRY_BYTES)
    assert kept.evicted[Gone.PRESSURE] == 3
    assert [has(kept, name) for name in (2, 3)] == [False, True]
    assert not put(kept, "new")  # nobody makes room for what can be computed again
    assert kept.declined == 1


def test_an_answer_put_again_counts_once_and_lives_anew() -> None:
    budget = Budget(1 << 20)
    kept = cache(budget=budget)
    put(kept, 1)
    put(kept, 1, now=20.0)
    assert budget.used_bytes == kept.n_bytes == ENTRY_BYTES + 2
    assert has(kept, 1, now=40.0)


def test_a_flush_leaves_nothing() -> None:
    budget = Budget(1 << 20)
    kept = cache(budget=budget)
    put(kept, 1)
    kept.flush()
    assert not has(kept, 1)
    assert (budget.used_bytes, kept.n_bytes, kept.evicted[Gone.FLUSHED]) == (0, 0, 1)
    assert put(kept, 1)


def test_a_change_holds_at_once() -> None:
    kept = cache(4)
    for name in range(4):
        put(kept, name)
    kept.change(kept.max_bytes, ttl_seconds=10.0)
    assert not has(kept, 1, now=10.0)
    for name in range(4):
        put(kept, name, now=20.0)
    kept.change(2 * (ENTRY_BYTES + 2), 10.0)
    assert [has(kept, name, now=20.0) for name in range(4)] == [False, False, True, True]
    kept.change(kept.max_bytes, 0.0)
    assert not has(kept, 3, now=20.0)
    assert not put(kept, 3, now=20.0)
    assert not kept.on


def test_a_thousand_that_expired_together_are_not_paid_by_one_client() -> None:
    kept = cache(2000)
    for name in range(1000):
        put(kept, name)
    assert not has(kept, 999, now=30.0)
    assert len(kept) == 1000 - AT_ONCE
    for _ in range(1000 // AT_ONCE):
        kept.expire(30.0)
    assert len(kept) == 0


TENANTS = st.sampled_from("abc")
KEYS = st.integers(0, 8)


class Caches(RuleBasedStateMachine):
    """Against a plain memory of the last answer to every key."""

    @initialize(room=st.integers(0, 12), ttl=st.sampled_from([0.0, 5.0, 30.0]))
    def start(self, room: int, ttl: float) -> None:
        self.now = 0.0
        self.budget = Budget(8 * ENTRY_BYTES)
        self.others = 0
        self.cache = AnswerCache(self.budget, room * ENTRY_BYTES, ttl)
        self.told: dict[bytes, tuple[str, bytes, float]] = {}
        self.number = 0

    @rule(tenant=TENANTS, name=KEYS, size=st.sampled_from([0, 1, 100, 1000, 3000]))
    def put(self, tenant: str, name: int, size: int) -> None:
        self.number += 1
        body = b"%d " % self.number + b"x" * size
        before = self.holding(tenant)
        others = any(self.holding(other) for other in "abc" if other != tenant)
        if self.cache.put(key(f"{tenant}{name}"), tenant, HEAD, body, self.now):
            self.told[key(f"{tenant}{name}")] = (tenant, body, self.now)
            others = others and any(self.holding(other) for other in "abc" if other != tenant)
            if others:
                share = self.cache.max_bytes * TENANT_SHARE
                assert self.holding(tenant) <= max(share, before)

    @rule(tenant=TENANTS, owner=TENANTS, name=KEYS, age=st.sampled_from([1.0, 10.0, 1e9]))
    def get(self, tenant: str, owner: str, name: int, age: float) -> None:
        answer = self.cache.get(key(f"{owner}{name}"), tenant, self.now, age)
        if answer is not None:
            assert tenant == owner
            owner, body, at = self.told[key(f"{owner}{name}")]
            assert (answer.tenant, answer.body, answer.stored_at) == (owner, body, at)
            assert self.now - at < min(age, self.cache.ttl_seconds)

    @rule(seconds=st.sampled_from([0.5, 3.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(n_bytes=st.integers(0, 4 * ENTRY_BYTES))
    def a_body_comes(self, n_bytes: int) -> None:
        """It gets in whenever the cache is all that stands in its way."""
        fits = self.others + n_bytes <= self.budget.limit_bytes
        assert self.budget.take(n_bytes) is fits
        if fits:
            self.others += n_bytes

    @rule()
    def bodies_go(self) -> None:
        self.budget.give(self.others)
        self.others = 0

    @rule()
    def flush(self) -> None:
        self.cache.flush()
        self.told.clear()

    @rule(room=st.integers(0, 12), ttl=st.sampled_from([0.0, 5.0, 30.0]))
    def change(self, room: int, ttl: float) -> None:
        self.cache.change(room * ENTRY_BYTES, ttl)

    def holding(self, tenant: str) -> int:
        answers = self.cache._answers.values()
        return sum(answer.n_bytes for answer in answers if answer.tenant == tenant)

    @invariant()
    def the_books_are_right(self) -> None:
        answers = list(self.cache._answers.values())
        assert self.cache.n_bytes == sum(answer.n_bytes for answer in answers)
        assert self.cache.n_bytes <= self.cache.max_bytes
        assert self.budget.used_bytes == self.cache.n_bytes + self.others
        assert self.budget.used_bytes <= self.budget.limit_bytes
        assert [answer.stored_at for answer in answers] == sorted(
            answer.stored_at for answer in answers
        )
        gone = sum(self.cache.evicted.values())
        assert self.cache.stored == gone + len(answers)


TestCaches = Caches.TestCase
TestCaches.settings = hypothesis_settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("room", [0, -1])
def test_without_room_nothing_is_kept(room: int) -> None:
    kept = AnswerCache(Budget(1 << 20), room, 30.0)
    assert not kept.on
    assert not put(kept, 1)
