"""The circuit: opens on an engine that fails all calls, never on a busy one or one bad prompt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchfleet_worker.adaptive import Signals
from batchfleet_worker.breaker import DIFFERENT, FAILURES, LONGEST_SECONDS, Breaker, State
from batchfleet_worker.exchange import Lost
from tests.worker.hall import Hall, request


def half() -> float:
    return 0.5


def failing(hall: Hall, times: int, why: Lost = Lost.BROKEN) -> None:
    for number in range(times):
        hall.lose(hall.push(request(body=b"%d" % number)), why)


def opened(hall: Hall) -> bool:
    return hall.metrics.circuit_open == 1


def test_an_engine_that_fails_every_call_gets_none_for_a_while_and_clients_are_told_at_once() -> (
    None
):
    hall = Hall(4)
    failing(hall, FAILURES - 1)
    assert hall.code(request(body=b"x")) is None
    failing(hall, 1)
    refusal = hall.admission.shed(request(), hall.clock.time())
    assert refusal is not None
    assert (refusal.status, refusal.code, refusal.retry_after_seconds) == (503, "circuit_open", 1)
    assert hall.metrics.circuit_opened_total == 1


def test_then_one_call_tries_it_and_the_others_wait_for_that() -> None:
    hall = Hall(4)
    failing(hall, FAILURES)
    hall.clock.advance(1.1)
    trial = hall.push(request())
    assert trial.sent_at is not None
    assert hall.code(request()) == "circuit_open"
    hall.end(trial)
    assert not opened(hall)
    assert hall.code(request()) is None


def test_each_failed_try_doubles_the_time() -> None:
    breaker = Breaker(half)
    for number in range(FAILURES):
        breaker.failed(number, 0.0)
    now, waits = 0.0, []
    for _ in range(8):
        waits.append(breaker.until - now)
        now = breaker.until
        assert breaker.may_try(now)
        assert not breaker.may_try(now)
        breaker.failed(1, now)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_who_waited_when_it_opened_is_kept_and_goes_when_it_closes() -> None:
    hall = Hall(FAILURES)
    sent = [hall.push(request(body=b"%d" % number)) for number in range(FAILURES)]
    waiting = [hall.push(request()) for _ in range(3)]
    for flight in sent[: FAILURES - 3]:
        hall.lose(flight, Lost.BROKEN)
    assert waiting[-1].sent_at is not None
    failing(hall, 3)
    assert opened(hall)
    late = hall.push(request())
    assert late not in hall.sent
    hall.clock.advance(1.0)
    assert late in hall.sent, "the first of those who wait is the try"
    second = hall.push(request())
    assert second not in hall.sent
    hall.end(late)
    assert second in hall.sent


def test_a_try_whose_client_leaves_hands_over_to_the_next() -> None:
    hall = Hall(4)
    failing(hall, FAILURES)
    first, second = hall.push(request()), hall.push(request())
    hall.clock.advance(1.0)
    assert (first.sent_at is not None, second.sent_at) == (True, None)
    hall.leave(first)
    assert second.sent_at is not None
    hall.end(second)
    assert not opened(hall)


def test_one_prompt_that_breaks_the_engine_again_and_again_does_not_close_the_door() -> None:
    hall = Hall(4)
    for _ in range(5 * FAILURES):
        hall.lose(hall.push(request(body=b"poison")), Lost.BROKEN)
    assert not opened(hall)


def test_an_engine_that_cannot_be_reached_is_no_prompts_fault() -> None:
    hall = Hall(4)
    flights = [hall.push(request(body=b"same")) for _ in range(FAILURES)]
    for flight in flights:
        hall.lose(flight, Lost.REFUSED)
    assert opened(hall)


def test_a_busy_engine_never_opens_it() -> None:
    hall = Hall(100)
    for number in range(50):
        hall.end(hall.push(request(body=b"%d" % number)), status=429)
    assert not opened(hall)
    hall.admission.tick(hall.clock.time(), Signals(running=40))
    for number in range(50):
        hall.end(hall.push(request(body=b"%d" % number)), status=503)
    assert not opened(hall)


def test_an_engine_that_answers_503_to_all_and_works_on_nothing_does() -> None:
    hall = Hall(100)
    hall.admission.tick(hall.clock.time(), Signals(running=0))
    for number in range(FAILURES):
        hall.end(hall.push(request(body=b"%d" % number)), status=503)
    assert opened(hall)


def test_an_answer_of_any_kind_begins_the_count_anew() -> None:
    hall = Hall(4)
    for status in (200, 400, 404, 500):
        failing(hall, FAILURES - 1)
        hall.end(hall.push(request()), status=status)
    assert not opened(hall)


def test_a_client_that_leaves_says_nothing_about_the_engine() -> None:
    hall = Hall(4)
    for number in range(3 * FAILURES):
        hall.leave(hall.push(request(body=b"%d" % number)))
    failing(hall, FAILURES - 1)
    assert not opened(hall)


def test_an_engine_that_is_seen_to_be_back_is_asked_at_once() -> None:
    hall = Hall(4)
    failing(hall, FAILURES)
    waiting = [hall.push(request()) for _ in range(4)]
    hall.admission.engine_back()
    assert all(flight.sent_at is not None for flight in waiting)
    assert not opened(hall)


def test_a_call_from_before_that_ends_well_closes_it() -> None:
    hall = Hall(FAILURES + 1)
    old = hall.push(request())
    failing(hall, FAILURES)
    assert opened(hall)
    hall.end(old)
    assert not opened(hall)


@given(
    st.lists(
        st.tuples(st.sampled_from(["fail", "answer", "try", "back"]), st.floats(0, 40)),
        max_size=80,
    ),
    st.floats(0, 0.999),
)
def test_it_never_stays_open_longer_than_its_longest_time(
    events: list[tuple[str, float]], chance: float
) -> None:
    breaker = Breaker(lambda: chance)
    now = 0.0
    for number, (event, pause) in enumerate(events):
        now += pause
        if event == "fail":
            breaker.failed(number, now)
        elif event == "answer":
            breaker.answered()
            assert breaker.state is State.CLOSED
        elif event == "try" and breaker.state is State.OPEN:
            assert breaker.may_try(now) == (now >= breaker.until)
        elif event == "back":
            breaker.came_back()
        if breaker.state is State.OPEN:
            assert breaker.until - now <= 1.2 * LONGEST_SECONDS
    assert DIFFERENT <= FAILURES


def test_what_became_of_one_call_is_not_held_against_another() -> None:
    hall = Hall(4)
    for number in range(FAILURES):
        lost = hall.push(request(body=b"%d" % number))
        hall.admission.failed(lost, Lost.BROKEN)  # it will be over later
        hall.end(hall.push(request(body=b"%d" % number)))
    assert not opened(hall)
