"""The minimum by weekday and hour: what somebody knows that no metric can tell in time.

Read by ``autoscale`` for the lower bound.  Hours are of the time zone that the spec names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from batchfleet_operator.api.autoscaling import Day, Schedule

DAYS: Final[tuple[Day, ...]] = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Minimum:
    """What the schedules ask for now."""

    replicas: int  # 0: none of them holds now
    problem: str | None = None  # why they cannot be read; then the highest of them holds always


def minimum(
    schedules: Sequence[Schedule], time_zone: str | None, now: datetime, lead_seconds: float
) -> Minimum:
    """The highest minimum that holds now or ``lead_seconds`` ahead: pods asked for now serve then.

    With a time zone that nobody knows, the hours mean nothing: the highest minimum of all holds,
    as too many pods cost money and too few cost requests.
    """
    if not schedules:
        return Minimum(0)
    zone = _zone(time_zone)
    if zone is None:
        return Minimum(
            max(each.min_replicas for each in schedules),
            f"autoscaling.timeZone {time_zone!r} is not known, so the highest minimum of the "
            "schedules holds at all hours: write a name such as Europe/Berlin",
        )
    moments = (now.astimezone(zone), (now + timedelta(seconds=lead_seconds)).astimezone(zone))
    holding = [e.min_replicas for e in schedules if any(_holds(e, at) for at in moments)]
    return Minimum(max(holding, default=0))


def _holds(schedule: Schedule, local: datetime) -> bool:
    today = DAYS[local.weekday()] in schedule.days
    return today and schedule.from_hour <= local.hour < schedule.to_hour


def _zone(name: str | None) -> tzinfo | None:
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError):  # unknown (a KeyError and OSError by turns), or not a name
        return None
    except KeyError:
        return None
