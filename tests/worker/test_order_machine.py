"""Arrivals, ends and departures in every order: nobody is lost, forgotten or starved."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchfleet_worker.exchange import Refusal
from batchfleet_worker.flight import Flight
from batchfleet_worker.limit import Slots
from batchfleet_worker.live import RequestsSettings
from batchfleet_worker.order import BATCH_EVERY_SECONDS, SMALL_SHARE
from batchfleet_worker.queue import AGING_SECONDS
from tests.worker.hall import Hall, request

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
