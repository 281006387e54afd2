"""Who goes first: priorities, fairness, ageing, batch traffic, reserved slots, heavy requests."""

from __future__ import annotations

from batchfleet_worker.limit import Slots
from batchfleet_worker.live import ModelLimit, RequestsSettings
from batchfleet_worker.order import BATCH_EVERY_SECONDS
from batchfleet_worker.queue import AGING_SECONDS
from tests.worker.hall import Hall, request, serve


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
