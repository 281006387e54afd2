"""What a fleet's size is made from: start-up times, hours of the week, work."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from batchfleet_operator.api.autoscaling import Schedule
from batchfleet_operator.metering.signals import Signals
from batchfleet_operator.observed import parse_time
from batchfleet_operator.scaling import schedule, work
from batchfleet_operator.scaling.leadtime import DEFAULT_SECONDS, LeadTime, Start, learn
from batchfleet_operator.scaling.work import Learnt
from tests.operator.autoscaled import BATCH, BEGIN, busy

LATER = BEGIN + timedelta(hours=2)


def start(created: float, took: float | None) -> Start:
    """Seconds from the time that somebody began to look."""
    at = BEGIN + timedelta(seconds=created)
    return Start(at, None if took is None else at + timedelta(seconds=took))


def learnt(*starts: Start, before: LeadTime | None = None, now: datetime = LATER) -> LeadTime:
    return learn(before or LeadTime((), None), starts, BEGIN, now)


def test_until_a_pod_has_been_measured_the_default_holds() -> None:
    assert learnt().seconds == DEFAULT_SECONDS
    assert learn(LeadTime((), None), [start(0, 60)], None, LATER).seconds == DEFAULT_SECONDS


def test_pods_that_are_older_than_the_operator_are_not_measured() -> None:
    """Their Ready may be their second."""
    assert learnt(start(-10, 500)).start_seconds == ()


def test_nine_of_ten_starts_are_faster_than_the_lead_time() -> None:
    found = learnt(*(start(60 * k, 100 + k) for k in range(12)))
    assert found.start_seconds == tuple(range(102, 112))
    assert found.seconds == 110


@pytest.mark.parametrize(("took", "lead"), [(4, 30), (200, 200), (3000, 900)])
def test_the_lead_time_is_bounded(took: float, lead: int) -> None:
    assert learnt(start(0, took)).seconds == lead


def test_each_pod_is_measured_once() -> None:
    first = learnt(start(0, 100))
    again = learnt(start(0, 100), start(50, 120), before=first)
    assert again.start_seconds == (100, 120)
    assert learnt(start(0, 100), start(50, 120), before=again) == again


def test_a_pod_that_still_starts_is_waited_for_unless_it_never_will() -> None:
    soon = BEGIN + timedelta(seconds=300)
    assert learnt(start(0, None), start(10, 50), now=soon).start_seconds == ()
    assert learnt(start(0, 280), start(10, 50), now=soon).start_seconds == (280, 50)
    assert learnt(start(0, None), start(10, 50), now=LATER).start_seconds == (50,)


OFFICE = Schedule.parse(
    {"days": ["Mon", "Tue"], "fromHour": 8, "toHour": 18, "minReplicas": 4},
)
EVENING = Schedule.parse({"days": ["Tue"], "fromHour": 16, "toHour": 24, "minReplicas": 7})


@pytest.mark.parametrize(
    ("moment", "zone", "least"),
    [
        ("2026-11-23T07:59:00Z", None, 0),
        ("2026-11-23T08:00:00Z", None, 4),
        ("2026-11-23T17:59:59Z", None, 4),
        ("2026-11-23T18:00:00Z", None, 0),
        ("2026-11-24T16:30:00Z", None, 7),
        ("2026-11-24T23:59:59Z", None, 7),
        ("2026-11-25T00:00:00Z", None, 0),
        ("2026-11-22T23:00:00Z", "Asia/Tokyo", 4),  # Monday, 8:00
        ("2026-07-06T06:30:00Z", "Europe/Berlin", 4),  # Monday, 8:30 in summer
        ("2026-11-23T06:30:00Z", "Europe/Berlin", 0),  # Monday, 7:30 in winter
    ],
)
def test_the_highest_minimum_of_the_hour_holds(moment: str, zone: str | None, least: int) -> None:
    found = schedule.minimum([OFFICE, EVENING], zone, parse_time(moment), 0)
    assert (found.replicas, found.problem) == (least, None)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "..", "a" * 200, "/etc/localtime", "Europe"])
def test_no_name_of_a_time_zone_is_a_crash(zone: str) -> None:
    found = schedule.minimum([OFFICE, EVENING], zone, BEGIN, 0)
    assert found.replicas == 7
    assert found.problem is not None
    assert "autoscaling.timeZone" in found.problem
    assert schedule.minimum([], zone, BEGIN, 0).problem is None


def estimate(
    *seen: tuple[float, float, float],
    before: Learnt | None = None,
    size: int | None = None,
    given: int | None = None,
    steady: bool = True,
) -> work.Work:
    """From looks 15 s apart: (completed per second, in flight, queued) of two pods."""
    signals = [work_signal(BEGIN + timedelta(seconds=15 * k), *each) for k, each in enumerate(seen)]
    return work.of(given, before or Learnt((), None), signals, size, 2, steady)


def work_signal(at: datetime, completed: float, in_flight: float, queued: float) -> Signals:
    seen = busy(rate=9.0, pods=2, completed=completed, in_flight=in_flight, queued=queued)
    return Signals(
        at=at,
        fresh_pods=seen.fresh_pods,
        completed_per_second=seen.completed_per_second,
        in_flight=seen.in_flight,
        queued=seen.queued,
    )


def test_the_work_of_a_request_is_learnt_while_requests_wait() -> None:
    full = (4.0, 128.0, 20.0)
    assert estimate(*[full] * 3).seconds is None, "not yet for a minute"
    found = estimate(*[full] * 5)
    assert found.learnt.milliseconds == (500,)
    assert found.seconds == 0.5
    assert estimate(*[full] * 5, before=found.learnt).learnt == found.learnt, "once a minute"
    assert estimate(*[full] * 5, steady=False).seconds is None, "a new pod has not its share yet"
    assert estimate(*[full] * 4, (4.0, 128.0, 1.0)).seconds is None, "nobody waits any more"


def test_of_the_estimates_the_last_ten_count() -> None:
    old = Learnt(tuple(range(100, 1100, 100)), BEGIN - timedelta(minutes=2))
    found = estimate(*[(4.0, 128.0, 20.0)] * 5, before=old)
    assert found.learnt.milliseconds == (*range(200, 1100, 100), 500)
    assert found.seconds == pytest.approx(0.59)


def test_below_saturation_it_is_how_long_a_call_stays_and_how_full_the_pods_are() -> None:
    """128 calls of 2 s each in two pods of 64 are two full pods: 64 a second, 1/32 s each."""
    assert estimate(*[(64.0, 128.0, 0.0)] * 20, size=BATCH).seconds == pytest.approx(1 / 32)
    # Half as full, a call stays 0.66 as long: the same calls, the same work.
    assert estimate(*[(32 / 0.66, 64.0, 0.0)] * 20, size=BATCH).seconds == pytest.approx(1 / 32)
    assert estimate(*[(0.0, 0.0, 0.0)] * 20, size=BATCH).seconds is None


def test_what_the_spec_says_is_believed() -> None:
    assert estimate(*[(4.0, 128.0, 20.0)] * 5, given=250).seconds == 0.25
