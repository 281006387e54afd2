"""Tenants take turns by what they were served, and nobody's flood is another's wait."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from batchfleet_worker.fairness import MOST_TENANTS, Accounts
from batchfleet_worker.queue import OLDEST_EVERY
from tests.worker.hall import Hall, request, serve


def crowd(costs: dict[str, int], rounds: int, limit: int = 8, backlog: int = 30) -> dict[str, int]:
    """Tokens that each tenant was served while all of them always wait; ``costs`` per call."""
    hall = Hall(limit, max_queue_length=100_000)
    chance = random.Random(0)
    served = dict.fromkeys(costs, 0)
    for tenant in costs:
        for _ in range(backlog):
            hall.push(request(0, tenant))
    for _ in range(rounds):
        hall.clock.advance(0.01)
        flight = chance.choice(hall.sent)
        served[flight.tenant] += costs[flight.tenant]
        hall.end(flight, tokens=(costs[flight.tenant], 0))
        hall.push(request(0, flight.tenant))
    return served


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(10, 2000), min_size=2, max_size=5))
def test_tenants_who_always_wait_are_served_the_same_number_of_tokens(costs: list[int]) -> None:
    """But for every eighth turn, which is the longest waiter's whosoever it is, and for what is
    under way."""
    named = {f"t{number}": cost for number, cost in enumerate(costs)}
    served = crowd(named, rounds=3000)
    even = sum(served.values()) / len(served)
    calls = 3000 / OLDEST_EVERY
    for tokens in served.values():
        # At the most an eighth of all calls were its own out of turn.
        extra = calls * max(named.values()) + 8 * max(named.values())
        assert tokens > even * (1 - 1 / OLDEST_EVERY) - extra / len(served)
        assert tokens < even + extra


def test_a_flood_of_one_tenant_holds_up_another_by_a_turn_or_two() -> None:
    hall = Hall(4)
    for _ in range(500):
        hall.push(request(0, "flood"))
    serve(hall, 50, tokens=(100, 0))
    hall.clock.advance(30)
    quiet = [hall.push(request(0, "quiet")) for _ in range(3)]
    sent = serve(hall, 8, tokens=(100, 0))
    assert set(quiet) <= set(sent)


def test_one_that_comes_back_has_saved_nothing_up() -> None:
    hall = Hall(1)
    hall.push(request(0, "x"))
    hall.push(request(0, "idle"))
    for _ in range(60):
        hall.push(request(0, "busy"))
    serve(hall, 40, tokens=(100, 0))
    for _ in range(20):
        hall.push(request(0, "idle"))
    tenants = [flight.tenant for flight in serve(hall, 16, tokens=(100, 0))]
    assert 6 <= tenants.count("busy") <= 10


def test_use_while_nobody_waited_is_not_held_against_anyone() -> None:
    hall = Hall(2)
    for _ in range(200):
        hall.end(hall.push(request(0, "early")), tokens=(1000, 1000))
    hall.push(request(0, "x"))
    hall.push(request(0, "x"))
    for _ in range(20):
        hall.push(request(0, "late"))
        hall.push(request(0, "early"))
    tenants = [flight.tenant for flight in serve(hall, 16, tokens=(10, 0))]
    assert tenants.count("early") >= 7


def test_a_tenant_ahead_of_ever_new_ones_is_served_all_the_same() -> None:
    hall = Hall(1)
    hall.push(request(0, "x"))
    hall.push(request(0, "ahead"))
    serve(hall, 1, tokens=(100_000, 0))
    ahead = hall.push(request(0, "ahead"))
    for number in range(2 * OLDEST_EVERY):
        hall.push(request(0, f"new{number}"))
        hall.push(request(0, f"other{number}"))
        serve(hall, 1, tokens=(1, 0))
    assert ahead.sent_at is not None


def test_accounts_of_ever_new_tenants_are_bounded() -> None:
    accounts = Accounts(most=100)
    for number in range(1000):
        accounts.served(f"t{number}", 1, 10, 10)
    assert len(accounts) == 100
    assert MOST_TENANTS == 10_000
