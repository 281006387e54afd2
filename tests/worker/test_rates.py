"""Rate limits as a tenant meets them: bursts, refills, debts, and when to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchfleet_worker.live import RateLimit, RequestsSettings, Scope
from batchfleet_worker.rates import BURST_SECONDS, MOST_TENANTS, Rates
from tests.worker.hall import Hall, request

EACH = RateLimit(requests_per_minute=60)


def rates(*limits: RateLimit) -> Rates:
    made = Rates()
    made.apply(limits)
    return made


def test_ten_seconds_worth_at_once_then_the_rate() -> None:
    limited = rates(EACH)
    assert [limited.ask("a", 0) for _ in range(11)] == [0] * 10 + [1]
    assert limited.ask("a", 1) == 0
    assert limited.ask("a", 1.5) == 1
    assert limited.ask("b", 1.5) == 0, "each tenant has its own"


def test_a_slow_rate_lets_one_through_and_says_when_the_next_may_come() -> None:
    limited = rates(RateLimit(requests_per_minute=0.5))
    assert limited.ask("a", 0) == 0
    assert limited.ask("a", 0) == 120
    assert limited.ask("a", 100) == 20
    assert limited.ask("a", 120) == 0


def test_tokens_are_paid_after_and_a_debt_has_to_be_worked_off() -> None:
    limited = rates(RateLimit(tokens_per_minute=6000))
    assert limited.ask("a", 0) == 0
    limited.pay("a", 1500, 0)  # of a bucket of 1000
    assert limited.ask("a", 0) == 6  # 500 and one, at 100 in a second
    assert limited.ask("a", 4) == 2
    assert limited.ask("a", 5.1) == 0


def test_a_tenants_own_entry_replaces_the_one_for_all() -> None:
    limited = rates(EACH, RateLimit(tenant="big", requests_per_minute=600))
    assert sum(limited.ask("big", 0) == 0 for _ in range(200)) == 100
    assert sum(limited.ask("small", 0) == 0 for _ in range(200)) == 10


def test_everybody_together_and_what_is_refused_costs_nobody_anything() -> None:
    service = RateLimit(scope=Scope.SERVICE, requests_per_minute=120)
    limited = rates(EACH, service)
    assert sum(limited.ask("a", 0) == 0 for _ in range(50)) == 10
    assert sum(limited.ask("b", 0) == 0 for _ in range(50)) == 10
    assert limited.ask("c", 0) == 1
    limited.apply([EACH])
    assert sum(limited.ask("c", 0) == 0 for _ in range(50)) == 10


def test_a_new_share_neither_refills_nor_empties_the_buckets() -> None:
    limited = rates(RateLimit(requests_per_minute=600))
    for _ in range(80):
        limited.ask("a", 0)
    limited.apply([RateLimit(requests_per_minute=300)])  # a pod more: half for each
    assert sum(limited.ask("a", 0) == 0 for _ in range(50)) == 20
    limited.apply([RateLimit(requests_per_minute=600)])
    assert limited.ask("a", 0) == 1


def test_ever_new_tenants_are_forgotten_in_time() -> None:
    limited = rates(EACH)
    for number in range(MOST_TENANTS + 500):
        limited.ask(f"t{number}", 0)
    assert len(limited) == MOST_TENANTS


@given(
    st.floats(1, 6000),
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 20)), max_size=60),
)
def test_never_more_than_the_burst_and_the_rate(
    per_minute: float, arrivals: list[tuple[float, int]]
) -> None:
    limited = rates(RateLimit(requests_per_minute=per_minute))
    now, let_in = 0.0, 0
    for pause, count in arrivals:
        now += pause
        let_in += sum(limited.ask("a", now) == 0 for _ in range(count))
        rate = per_minute / 60
        assert let_in <= max(1, BURST_SECONDS * rate) + rate * now + 1e-6


@given(st.floats(1, 6000), st.integers(0, 5000))
def test_who_comes_back_when_told_is_let_in(per_minute: float, tokens: int) -> None:
    limited = rates(RateLimit(requests_per_minute=per_minute, tokens_per_minute=per_minute * 10))
    now = 0.0
    limited.ask("a", now)
    limited.pay("a", tokens, now)
    while seconds := limited.ask("a", now):
        now += seconds
        assert limited.ask("a", now) == 0 or seconds == 3600
        if seconds != 3600:
            break


def test_a_client_over_its_rate_gets_a_429_that_says_when_to_come_back() -> None:
    limits = (RateLimit(requests_per_minute=6, tokens_per_minute=600),)
    hall = Hall(requests=RequestsSettings(rate_limits=limits))
    assert hall.code(request(0, "a")) is None
    refusal = hall.admission.refusal(request(0, "a"), hall.clock.time())
    assert refusal is not None
    assert (refusal.status, refusal.code) == (429, "rate_limited")
    assert refusal.retry_after_seconds == 10
    assert hall.code(request(0, "b")) is None
    hall.admission.served("b", 200, 300)
    hall.clock.advance(10)
    refusal = hall.admission.refusal(request(0, "b"), hall.clock.time())
    assert refusal is not None
    assert refusal.retry_after_seconds == pytest.approx(31)  # 400 too many and one, at 10 a second
    hall.apply(None)
    assert hall.code(request(0, "b")) is None
