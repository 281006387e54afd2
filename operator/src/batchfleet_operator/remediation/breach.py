"""What the readings say of one rule: well, broken for how long, or nothing at all.

Comes after ``presets`` and before the guards.  What is unknown is never broken and never well: one
unknown reading in between, or a gap, begins both counts anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Literal

from batchfleet_operator.metering.signals import Reading
from batchfleet_operator.remediation.case import Case
from batchfleet_operator.remediation.outlier import sick_in
from batchfleet_operator.remediation.presets import Policy

Kind = Literal["broken", "between", "well", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """How one rule's number stands, before any guard."""

    state: Literal["Healthy", "Pending", "Broken", "Inconclusive", "Invalid"]
    reason: str
    message: str
    run: Sequence[Reading] = ()  # Broken: the readings that confirm it, oldest first
    value: float | None = None  # median of the run
    well: Callable[[], datetime] | None = None  # since when it is within four fifths of its bound

    @property
    def well_since(self) -> datetime | None:
        """Worked out where somebody asks: of most rules nobody does, look after look."""
        return None if self.well is None else self.well()

    @property
    def broken(self) -> bool:
        return self.state == "Broken"

    def well_for(self, seconds: float, since: datetime | None, now: datetime) -> bool:
        """Whether every reading was well for ``seconds``, all of them after ``since``."""
        well_since = self.well_since
        if well_since is None:
            return False
        begun = well_since if since is None else max(well_since, since)
        return now - begun >= timedelta(seconds=seconds)


def find(policy: Policy, case: Case) -> Finding:
    """The finding of one rule."""
    if policy.is_query and not case.allowed:
        return Finding(
            "Invalid",
            "QueriesNotAllowed",
            "the operator's configuration does not allow queries "
            "(monitoring.prometheus.allowQueries in the chart): use a preset, or ask for it",
        )
    readings = case.readings.get(policy.name, ())
    if not readings:
        return Finding("Inconclusive", "NotReadYet", "Prometheus was not asked yet")
    latest = readings[-1]
    if latest.problem is not None:
        return Finding("Invalid", "QueryFailed", f"Prometheus says: {latest.problem}"[:1024])
    if case.now - latest.at > timedelta(seconds=case.stale_after_seconds):
        return Finding("Inconclusive", "Stale", "the last number is too old to act upon")
    kind = _kind(latest, policy)
    if kind == "unknown":
        reason, message = _unknown(latest, policy) or ("NoData", "")
        return Finding("Inconclusive", reason, message)
    broken = _broken_run(readings, policy, case)
    if broken:
        return _broken(policy, broken, case)
    match kind:
        case "well":
            return Finding(
                "Healthy",
                "WithinBound",
                "within its bound",
                well=lambda: _well_since(readings, policy, case),
            )
        case _:
            return Finding(
                "Healthy",
                "NearBound",
                "within its bound, but not far enough to count as recovered",
            )


def _well_since(readings: Sequence[Reading], policy: Policy, case: Case) -> datetime:
    """The last reading is well."""
    run = _run(readings, lambda each: _kind(each, policy) == "well", case, policy.recover_seconds)
    return run[0].at


def median_since(
    policy: Policy, readings: Sequence[Reading], since: datetime, now: datetime
) -> float | None:
    """The number after ``since`` until ``now``; ``None``: nothing known, or not enough requests."""
    known = [
        each.value
        for each in readings
        if since < each.at <= now and each.value is not None and _kind(each, policy) != "unknown"
    ]
    return median(known) if known else None


def _broken_run(readings: Sequence[Reading], policy: Policy, case: Case) -> Sequence[Reading]:
    """The last readings that were all broken, oldest first.

    A rule that restarts pods is broken as well while the *same* pod is: among thirty, one that
    fails always is three percent of the fleet's errors.
    """
    fleet = _run(readings, lambda each: _kind(each, policy) == "broken", case)
    if policy.action != "RestartPod":
        return fleet
    ill: list[set[str]] = []

    def same_pod(reading: Reading) -> bool:
        ill.append(sick_in(policy, reading))
        return _kind(reading, policy) != "unknown" and bool(set.intersection(*ill))

    return max(fleet, _run(readings, same_pod, case), key=len)


def _broken(policy: Policy, run: Sequence[Reading], case: Case) -> Finding:
    value = median(each.value for each in run if each.value is not None) if _has(run) else None
    if case.now - run[0].at < timedelta(seconds=policy.confirm_seconds):
        return Finding("Pending", "NotConfirmed", _out(policy) + ", not for long enough yet", run)
    return Finding("Broken", "Confirmed", _out(policy), run, value)


def _has(run: Sequence[Reading]) -> bool:
    return any(each.value is not None for each in run)


def _out(policy: Policy) -> str:
    if policy.alert_name is not None:
        return f"the alert {policy.alert_name} fires"
    side = "below" if policy.below else "above"
    usual = " × what is usual" if policy.of_baseline else ""
    return f"{side} its bound {policy.bound:g}{usual}"


def _run(
    readings: Sequence[Reading],
    belongs: Callable[[Reading], bool],
    case: Case,
    enough_seconds: float = math.inf,
) -> Sequence[Reading]:
    """The last readings that all belong, without a gap, oldest first; asked from the last one.

    Nobody asks for how much longer than ``enough_seconds`` it has been so: a healthy fleet is
    looked at in every tick.
    """
    gap = timedelta(seconds=case.stale_after_seconds)
    first = len(readings)
    while first > 0:
        each = readings[first - 1]
        if not belongs(each):
            break
        if first < len(readings) and readings[first].at - each.at > gap:
            break
        first -= 1
        if (case.now - each.at).total_seconds() >= enough_seconds:
            break
    return readings[first:]


def _kind(reading: Reading, policy: Policy) -> Kind:
    if policy.alert_name is not None:
        return _alert_kind(reading)
    if reading.problem is not None or reading.value is None or _unknown(reading, policy):
        return "unknown"
    if policy.is_broken(reading.value, reading.baseline):
        return "broken"
    well = policy.is_well(reading.value, reading.baseline)
    if policy.action == "RestartPod" and sick_in(policy, reading):
        well = False
    return "well" if well else "between"


def _alert_kind(reading: Reading) -> Kind:
    if reading.problem is not None or reading.alert is None:
        return "unknown"
    kinds: dict[str, Kind] = {"firing": "broken", "pending": "between", "inactive": "well"}
    return kinds[reading.alert]


def _unknown(reading: Reading, policy: Policy) -> tuple[str, str] | None:
    """Why the number means nothing; ``None``: it means something."""
    if policy.alert_name is not None:
        return "NoData", f"Prometheus does not tell of an alert {policy.alert_name}"
    if not _is_number(reading.value):
        why = "Prometheus has no number" if reading.note is None else reading.note
        return "NoData", f"{why}: nothing is done without one"
    if policy.min_samples > 0 and not _is_number(reading.samples, policy.min_samples):
        return (
            "TooFewSamples",
            f"fewer than {policy.min_samples} requests (minSamples) in "
            f"{policy.window_seconds:g} seconds: the number means nothing",
        )
    if policy.of_baseline and not (_is_number(reading.baseline) and reading.baseline):
        return "NoBaseline", "it is not known yet what is usual"
    return None


def _is_number(value: float | None, at_least: float = -math.inf) -> bool:
    return value is not None and math.isfinite(value) and value >= at_least
