"""Who goes first: priorities, fairness, ageing, batch traffic, reserved slots, heavy requests."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchfleet_worker.exchange import Refusal
from batchfleet_worker.fairness import MOST_TENANTS, Accounts
from batchfleet_worker.flight import Flight
from batchfleet_worker.limit import Slots
from batchfleet_worker.live import ModelLimit, RequestsSettings
from batchfleet_worker.order import BATCH_EVERY_SECONDS, SMALL_SHARE
from batchfleet_worker.queue import AGING_SECONDS, OLDEST_EVERY
from tests.worker.hall import Hall, request


def serve(hall: Hall, count: int, tokens: tuple[int, int] = (0, 0)) -> list[Flight]:
    """Ends what runs longest, ``count`` times; returns what was sent then."""
    begun = len(hall.sent)
    sent: list[Flight] = []
    hall.on_send = sent.append
    for _ in range(count):
        hall.end(hall.sent[0], tokens=tokens)
    hall.on_send = None
    assert begun or not count
    return sent


def test_higher_priority_first_and_first_come_first_served_within_one() -> None:
    hall = Hall(1)
    hall.push(request())
    waiting = [hall.push(request(priority)) for priority in (0, 5, 0, 1, 5)]
    order = [waiting.index(flight) for flight in serve(hall, 5)]
    assert order == [1, 4, 3, 0, 2]


def test_one_that_waits_gains_a_step_of_priority_in_ten_seconds_and_no_sooner() -> None:
    hall = Hall(1)
    hall.push(request())
    old = hall.push(request(0))
    hall.clock.advance(2 * AGING_SECONDS - 0.1)
    more_urgent = hall.push(request(2))
    assert serve(hall, 1) == [more_urgent]
    hall.clock.advance(0.2)
    hall.push(request(2))
    assert serve(hall, 1) == [old]


def test_a_priority_that_rises_while_it_waits_moves_it_and_keeps_its_time_of_arrival() -> None:
    hall = Hall(1)
    hall.push(request())
    flights = []
    for priority in (3, 0, 3, 3):
        flights.append(hall.push(request(priority)))
        hall.clock.advance(1)
    first, joined, second, late = flights
    joined.priority = 3  # as an urgent client joins it
    hall.admission.raised(joined)
    assert serve(hall, 4) == [first, joined, second, late]


def test_batch_traffic_raised_by_an_interactive_client_is_interactive() -> None:
    hall = Hall(4)
    for _ in range(4):
        hall.push(request())
    batch = hall.push(request(-1))
    assert hall.metrics.queued_batch == 1
    batch.priority = 0
    hall.admission.raised(batch)
    assert hall.metrics.queued_batch == 0
    assert serve(hall, 1) == [batch]


def test_batch_traffic_leaves_a_quarter_free_and_waits_while_anybody_else_does() -> None:
    hall = Hall(8)
    batch = [hall.push(request(-1)) for _ in range(10)]
    assert len(hall.sent) == 6
    assert [hall.push(request()).sent_at is not None for _ in range(3)] == [True, True, False]
    interactive = hall.push(request())
    first = hall.sent[0]
    assert serve(hall, 2)[1] is interactive
    assert first.sent_at is not None
    assert batch[6].sent_at is None


def test_batch_traffic_is_not_shut_out_for_ever() -> None:
    hall = Hall(2)
    hall.push(request())
    hall.push(request())
    batch = [hall.push(request(-5)), hall.push(request(-5))]
    for _ in range(int(BATCH_EVERY_SECONDS)):
        hall.push(request())
        assert serve(hall, 1)[0].priority == 0
        hall.clock.advance(1)
    hall.push(request())
    assert serve(hall, 1) == [batch[0]]
    hall.push(request())
    assert serve(hall, 1)[0].priority == 0


def test_heavy_batch_traffic_does_not_clear_the_engine_for_itself() -> None:
    hall = Hall(8)
    for _ in range(8):
        hall.push(request())
    heavy = hall.push(request(-1, weight=8))
    for _ in range(40):
        hall.push(request())
        serve(hall, 1)
        hall.clock.advance(1)
    assert heavy.sent_at is None


def test_reserved_slots_are_free_for_priorities_above_zero() -> None:
    hall = Hall(10, requests=RequestsSettings(reserved_slots_percent=20))
    flights = [hall.push(request()) for _ in range(9)]
    assert [flight.sent_at is not None for flight in flights] == [True] * 8 + [False]
    urgent = [hall.push(request(1)) for _ in range(3)]
    assert [flight.sent_at is not None for flight in urgent] == [True, True, False]
    assert hall.metrics.reserved_slots == 2


def test_slots_reserved_of_one_leave_that_one_to_everybody() -> None:
    assert Slots.of(1, 90) == Slots(1, 1, 1)
    assert Slots.of(4, 50) == Slots(4, 2, 2)


def test_a_heavy_request_is_not_overtaken_for_ever_by_light_ones() -> None:
    hall = Hall(4)
    for _ in range(4):
        hall.push(request())
    heavy = hall.push(request(weight=3))
    light = [hall.push(request()) for _ in range(4)]
    assert serve(hall, 2) == []
    assert serve(hall, 1) == [heavy]
    assert hall.admission.in_flight == 4
    assert light[0].sent_at is None


def test_one_heavier_than_all_slots_goes_alone() -> None:
    hall = Hall(4)
    hall.push(request())
    heavy, next_one = hall.push(request(weight=9)), hall.push(request())
    assert serve(hall, 1) == [heavy]
    assert next_one.sent_at is None
    assert serve(hall, 1) == [next_one]


def test_a_model_at_its_own_ceiling_waits_without_blocking_the_others() -> None:
    hall = Hall(4, model_limits=(ModelLimit(model="a", max_batch_size=1),))
    first = hall.push(request(model="a"))
    second, third = hall.push(request(model="a")), hall.push(request(5, model="a"))
    other = [hall.push(request(model="b")) for _ in range(4)]
    assert [flight.sent_at is not None for flight in other] == [True, True, True, False]
    assert hall.admission.queued == 3
    hall.end(first)
    assert third.sent_at is not None  # of a, by priority; b has no slot
    assert second.sent_at is None
    hall.leave(second)
    hall.end(third)
    assert other[3].sent_at is not None
    assert (hall.admission.queued, hall.admission.in_flight) == (0, 4)


def test_a_model_limit_that_is_taken_away_lets_its_requests_go() -> None:
    hall = Hall(4, model_limits=(ModelLimit(model="a", max_batch_size=1),))
    flights = [hall.push(request(model="a", weight=2)) for _ in range(3)]
    assert len(hall.sent) == 1
    hall.apply(4)
    assert [flight.sent_at is not None for flight in flights] == [True, True, False]


# --- fairness ------------------------------------------------------------------------------


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


# --- all of it -----------------------------------------------------------------------------

PICK = st.integers(0, 1000)


class Orders(RuleBasedStateMachine):
    """Arrivals, ends, departures and changes of the limit, in every order."""

    @initialize(limit=st.integers(1, 12), reserved=st.sampled_from([0, 20, 50]))
    def start(self, limit: int, reserved: int) -> None:
        self.flights: list[Flight] = []
        self.hall = Hall()
        self.hall.on_send = self.sent
        self.limit(limit, reserved)

    @rule(limit=st.integers(1, 12), reserved=st.sampled_from([0, 20, 50]))
    def limit(self, limit: int, reserved: int) -> None:
        self.slots = Slots.of(limit, reserved)
        self.hall.apply(limit, requests=RequestsSettings(reserved_slots_percent=reserved))

    @rule(
        priority=st.sampled_from([-2, -1, 0, 0, 0, 1, 2, 40]),
        tenant=st.sampled_from("abc"),
        weight=st.sampled_from([1, 1, 1, 2, 5, 20]),
    )
    def arrive(self, priority: int, tenant: str, weight: int) -> None:
        offered = self.hall.offer(request(priority, tenant, weight))
        assert not isinstance(offered, Refusal)
        self.flights.append(offered)

    @precondition(lambda self: self.hall.sent)
    @rule(pick=PICK, tokens=st.integers(0, 3000))
    def end(self, pick: int, tokens: int) -> None:
        flight = self.hall.sent[pick % len(self.hall.sent)]
        self.hall.end(flight, tokens=(tokens, tokens))

    @precondition(lambda self: self.waiting())
    @rule(pick=PICK)
    def leave(self, pick: int) -> None:
        waiting = self.waiting()
        flight = waiting[pick % len(waiting)]
        self.flights.remove(flight)
        self.hall.leave(flight)

    @precondition(lambda self: self.waiting())
    @rule(pick=PICK, by=st.integers(1, 3))
    def rise(self, pick: int, by: int) -> None:
        waiting = self.waiting()
        flight = waiting[pick % len(waiting)]
        flight.priority += by
        self.hall.admission.raised(flight)

    @rule(seconds=st.sampled_from([0.1, 3, 11]))
    def time_passes(self, seconds: float) -> None:
        self.hall.clock.advance(seconds)

    def waiting(self) -> list[Flight]:
        return [flight for flight in self.flights if flight.sent_at is None]

    def sent(self, flight: Flight) -> None:
        """Every rule of the order, at the moment that somebody is sent."""
        now, in_use = self.hall.clock.time(), self.hall.admission.in_flight
        waiting = list(self.hall.admission)
        interactive = [each for each in waiting if each.priority >= 0]
        alone = in_use == flight.weight
        assert in_use <= self.slots.limit or alone
        urgent = any(each.priority > 0 for each in waiting)
        if flight.priority <= 0 and not urgent:
            assert in_use <= self.slots.ordinary or alone
        if flight.priority < 0:
            if interactive:
                assert now - flight.enqueued_at >= BATCH_EVERY_SECONDS
                assert flight.weight <= max(1, self.slots.limit * SMALL_SHARE)
            else:
                assert in_use <= self.slots.batch or alone
            rivals = [each for each in waiting if each.priority < 0]
        else:
            rivals = interactive
        for rival in rivals:
            if rival.priority > flight.priority:
                head_start = rival.enqueued_at - flight.enqueued_at
                assert head_start >= AGING_SECONDS * (rival.priority - flight.priority) - 1e-6

    @invariant()
    def the_numbers_are_true(self) -> None:
        hall = self.hall
        assert hall.admission.in_flight == sum(flight.weight for flight in hall.sent)
        assert hall.admission.in_flight == hall.metrics.in_flight
        assert hall.admission.queued == hall.metrics.queued == len(self.waiting())
        assert hall.metrics.queued_batch == sum(each.priority < 0 for each in self.waiting())
        assert set(hall.admission) == set(self.waiting())

    @invariant()
    def no_slot_is_left_free_for_nothing(self) -> None:
        waiting, in_use = self.waiting(), self.hall.admission.in_flight
        if not waiting:
            return
        assert in_use
        interactive = [flight for flight in waiting if flight.priority >= 0]
        room = self.slots.ordinary if interactive else self.slots.batch
        heaviest = max(flight.weight for flight in interactive or waiting)
        assert in_use + heaviest > room

    def teardown(self) -> None:
        """Whoever waits is sent in the end, and no trace is left."""
        if not hasattr(self, "hall"):
            return
        while self.hall.sent:
            self.hall.end(self.hall.sent[0])
        assert not self.waiting()
        assert self.hall.admission.in_flight == 0
        assert self.hall.admission._order._accounts.waiting == 0


TestOrders = Orders.TestCase
TestOrders.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("limit", [1, 4])
def test_nobody_starves_under_a_stream_of_more_urgent_requests(limit: int) -> None:
    """The wait is bounded by what ageing makes of the difference, 20 s for two steps, and by those
    who had come before then."""
    hall = Hall(limit)
    for _ in range(limit + 1):
        hall.push(request(2))
    old = hall.push(request(0))
    waited = 0.0
    while old.sent_at is None:
        hall.push(request(2))
        hall.clock.advance(0.5)
        waited += 0.5
        hall.end(hall.sent[0])
        assert waited < 2 * AGING_SECONDS + 2
    assert waited >= 2 * AGING_SECONDS - 1
