"""One sample of a canary: are the new pods worse than the old ones are at this very moment?

Read by ``rollout``, which counts samples.  An answer is good, bad or unknown; unknown is what every
missing, old or thin number is, and decides nothing.  Messages hold no numbers that move while the
answer stays, since they end in the status.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from batchfleet_operator.api.rollout import Analysis, Rollout
from batchfleet_operator.metering.signals import Reading, Watched

ERRORS = "rollout/errors"
TTFT = "rollout/ttft"
ANALYSIS = "rollout/analysis"
"""Names of the readings: share of errors (0 to 1, without 429 and 503) and mean time to first token
(seconds), both by pod with the requests behind them; and the spec's own analysis."""

MIN_REQUESTS = 20
MAX_ERROR_PERCENT = 5
MAX_SLOWER_PERCENT = 50

SLACK_SECONDS = 0.1
"""Of time to first token: a new pod's caches are cold, and twice nothing is still nothing."""


@dataclass(frozen=True)
class Pods:
    """Names of the pods that are compared."""

    new: Collection[str]
    old: Collection[str]


@dataclass(frozen=True)
class Sample:
    verdict: Literal["Good", "Bad", "Unknown"]
    message: str
    few: bool = False  # unknown, since the new pods have had too few requests


def sample(
    rollout: Rollout, watched: Watched | None, pods: Pods, since: datetime, *, moving: bool = False
) -> Sample:
    """What the readings taken at ``since`` or later say.

    ``moving``: old pods are leaving, so that clients are spread unevenly.  How fast a pod answers
    then depends on how many have found it; whether it answers does not.
    """
    if watched is None:
        return Sample("Unknown", "Prometheus has not been asked yet")
    if rollout.analysis is not None:
        return _analysed(rollout.analysis, _latest(watched, ANALYSIS, since))
    errors = _latest(watched, ERRORS, since)
    if errors is None:
        return Sample("Unknown", "Prometheus has no share of errors of these pods")
    least = rollout.judging.min_requests or MIN_REQUESTS
    requests = errors.samples_by_pod
    if not pods.new or any(name not in requests for name in pods.new):
        return Sample("Unknown", "Prometheus does not know all new pods' requests")
    for whose, names in (("new", pods.new), ("stable", pods.old)):
        if sum(requests.get(name, 0.0) for name in names) < least:
            said = f"the {whose} pods have had too few requests"
            said = f"{said} (old connections stay where they are for a while)"
            return Sample("Unknown", said, few=whose == "new")
    worse = _worse_errors(rollout, errors, pods)
    if worse is not None or moving:
        return worse or Sample("Good", "the new pods have no more errors than the stable ones")
    return _slower(rollout, _latest(watched, TTFT, since), pods)


def idle(rollout: Rollout, watched: Watched | None, share: float) -> bool:
    """Whether the service has too few requests to judge by, as far as that is known.

    ``share``: of the fleet's pods, those that are judged; they would get this part of the traffic.
    """
    latest = None if watched is None else watched.latest
    if latest is None or latest.offered_per_second is None:
        return False
    expected = latest.offered_per_second * rollout.judging.sample_seconds * share
    return expected < (rollout.judging.min_requests or MIN_REQUESTS)


def _latest(watched: Watched, name: str, since: datetime) -> Reading | None:
    readings = watched.readings.get(name, ())
    return readings[-1] if readings and readings[-1].at >= since else None


def _analysed(analysis: Analysis, reading: Reading | None) -> Sample:
    if reading is None:
        return Sample("Unknown", "rollout.analysis has no result")
    if reading.problem is not None:
        return Sample("Unknown", f"rollout.analysis cannot be read: {reading.problem}")
    if analysis.alert_name is not None:
        return _alerted(analysis.alert_name, reading)
    if reading.value is None:
        return Sample("Unknown", "rollout.analysis.query gives no number")
    if analysis.above is not None and reading.value > float(analysis.above):
        return Sample("Bad", f"rollout.analysis is {reading.value:.4g}, above {analysis.above}")
    if analysis.below is not None and reading.value < float(analysis.below):
        return Sample("Bad", f"rollout.analysis is {reading.value:.4g}, below {analysis.below}")
    return Sample("Good", "rollout.analysis is within its bound")


def _alerted(name: str, reading: Reading) -> Sample:
    match reading.alert:
        case "firing":
            return Sample("Bad", f"the alert {name} fires")
        case "inactive":
            return Sample("Good", f"the alert {name} does not fire")
        case _:
            return Sample("Unknown", f"the alert {name} is pending, or not known to Prometheus")


def _worse_errors(rollout: Rollout, errors: Reading, pods: Pods) -> Sample | None:
    new, old = _mean(errors, pods.new), _mean(errors, pods.old)
    if new is None or old is None:
        return Sample("Unknown", "Prometheus has no share of errors of these pods")
    allowed = rollout.judging.max_error_percent
    allowed = MAX_ERROR_PERCENT if allowed is None else allowed
    if (new - old) * 100 <= allowed:
        return None
    return Sample(
        "Bad",
        f"{new:.1%} of the new pods' requests end in errors, {old:.1%} of the stable ones'",
    )


def _slower(rollout: Rollout, ttft: Reading | None, pods: Pods) -> Sample:
    new = None if ttft is None else _mean(ttft, pods.new)
    old = None if ttft is None else _mean(ttft, pods.old)
    if new is None or old is None:
        return Sample("Unknown", "Prometheus has no time to first token of these pods")
    allowed = rollout.judging.max_slower_percent
    allowed = MAX_SLOWER_PERCENT if allowed is None else allowed
    if new > old * (1 + allowed / 100) + SLACK_SECONDS:
        return Sample(
            "Bad",
            f"the new pods' time to first token is {new:.3g} s, the stable ones' {old:.3g} s",
        )
    return Sample("Good", "the new pods do as well as the stable ones")


def _mean(reading: Reading, pods: Collection[str]) -> float | None:
    """Mean of the pods' numbers, each weighted by its requests; pods without any do not count."""
    weights = {name: reading.samples_by_pod.get(name, 1.0) for name in pods}
    there = [name for name in pods if name in reading.by_pod and weights[name] > 0]
    weight = sum(weights[name] for name in there)
    return sum(reading.by_pod[name] * weights[name] for name in there) / weight if weight else None
