"""Who is refused because there is too much to do, and what it is told."""

from __future__ import annotations

import pytest

from batchfleet_worker.errors import QUEUE_FULL, later, reason_of
from batchfleet_worker.exchange import Refusal
from batchfleet_worker.live import Mode, RequestsSettings
from batchfleet_worker.shed import ENOUGH_SAMPLES, ServiceTime, retry_after
from tests.worker.hall import Hall, request


def busy(limit: int = 4, seconds: float = 2.0, **settings: object) -> Hall:
    """All slots taken, and known that each call takes ``seconds``."""
    hall = Hall(limit, **settings)  # type: ignore[arg-type]
    for _ in range(ENOUGH_SAMPLES):
        flight = hall.push(request())
        hall.clock.advance(seconds)
        hall.end(flight)
    for _ in range(limit):
        hall.push(request())
    return hall


def test_refused_at_once_when_the_queue_alone_takes_longer_than_its_time() -> None:
    hall = busy(requests=RequestsSettings(queue_timeout_seconds=10))
    codes = [hall.code(request()) for _ in range(25)]
    assert codes == [None] * 20 + ["deadline_unreachable"] * 5  # 20 ahead x 2 s ÷ 4 slots
    refusal = hall.offer(request())
    assert isinstance(refusal, Refusal)
    assert refusal.status == 503
    assert refusal.retry_after_seconds == 1
    assert reason_of(refusal) == "saturated"


def test_a_client_with_less_time_is_refused_sooner_and_one_with_more_waits() -> None:
    hall = busy()
    for _ in range(8):
        hall.push(request())
    assert hall.code(request(timeout_seconds=3)) == "deadline_unreachable"
    assert hall.code(request(timeout_seconds=6)) is None


def test_nothing_is_foretold_from_a_handful_of_answers() -> None:
    hall = Hall(1)
    for _ in range(ENOUGH_SAMPLES - 1):
        flight = hall.push(request())
        hall.clock.advance(200)
        hall.end(flight)
    hall.push(request())
    assert [hall.code(request()) for _ in range(5)] == [None] * 5


def test_one_tenants_flood_does_not_get_another_tenant_refused() -> None:
    hall = busy(requests=RequestsSettings(queue_timeout_seconds=10))
    while hall.code(request(0, "flood")) is None:
        pass
    assert hall.code(request(0, "quiet")) is None


def test_urgent_requests_are_not_refused_for_what_waits_behind_them() -> None:
    hall = busy(requests=RequestsSettings(queue_timeout_seconds=10))
    while hall.code(request()) is None:
        pass
    assert hall.code(request(1)) is None
    assert hall.code(request(-1)) == "deadline_unreachable"


def test_nothing_is_foretold_while_the_limit_is_still_climbing() -> None:
    hall = Hall(4, mode=Mode.ADAPTIVE)
    for _ in range(ENOUGH_SAMPLES):
        flight = hall.push(request())
        hall.clock.advance(100)
        hall.end(flight)
    for _ in range(100):
        hall.push(request())
    assert hall.code(request()) is None


def test_a_full_queue_of_batch_traffic_makes_room_for_interactive() -> None:
    hall = Hall(1, max_queue_length=3)
    hall.push(request())
    batch = [hall.push(request(-1)) for _ in range(3)]
    assert hall.code(request(-1)) == "queue_full"
    assert hall.code(request(0)) is None
    assert hall.admission.queued == 3
    assert batch[2] not in set(hall.admission), "the last to come"
    assert [hall.code(request(0)) for _ in range(3)] == [None, None, "queue_full"]


def test_whoever_waits_longer_than_the_queue_timeout_is_told_so() -> None:
    hall = Hall(1, requests=RequestsSettings(queue_timeout_seconds=5))
    hall.push(request())
    early = hall.push(request())
    hall.clock.advance(3)
    late = hall.push(request())
    hall.clock.advance(2.1)
    assert set(hall.admission) == {late}
    assert early.sent_at is None
    hall.apply(1, requests=RequestsSettings(queue_timeout_seconds=1))
    hall.clock.advance(0)
    assert hall.admission.queued == 0


def test_a_tunnel_that_was_open_for_an_hour_is_no_service_time() -> None:
    hall = busy(requests=RequestsSettings(queue_timeout_seconds=10))
    tunnel = hall.sent[0]
    hall.clock.advance(3600)
    hall.end(tunnel)
    hall.push(request())
    assert hall.code(request()) is None


@pytest.mark.parametrize(
    ("wait", "deadline", "seconds"), [(None, 0, 1), (0.2, 0, 1), (7.5, 3, 5), (900, 10, 30)]
)
def test_retry_after(wait: float | None, deadline: float, seconds: int) -> None:
    assert retry_after(wait, deadline) == seconds
    assert later(QUEUE_FULL, seconds).retry_after_seconds == seconds


def test_the_mean_follows_what_calls_take_now() -> None:
    service = ServiceTime()
    for seconds, answers in ((1.0, 30), (5.0, 200)):
        service.answers, service.seconds = answers, answers * seconds
        assert service.wait_seconds(8, 4) == pytest.approx(2 * seconds, rel=0.1)
