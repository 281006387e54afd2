"""One run: a trace, a fleet, a policy.  Pure: the same arguments give the same outcome."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from batchfleet_operator.simulate.engine import Ledger, Objectives
from batchfleet_operator.simulate.fleet import Fleet, Make
from batchfleet_operator.simulate.meter import SCRAPE_SECONDS, Meter
from batchfleet_operator.simulate.policy import Policy
from batchfleet_operator.simulate.trace import Trace

LAG_SECONDS = 5.0
"""From a scrape to the look that sees it: a mean of scrape and evaluation that are not in step."""
STEP_SECONDS = 60.0  # of the time series
AFTERWARDS_SECONDS = 600.0
"""What runs when the trace ends may finish; its pods' time is not counted."""
REVERSAL_SECONDS = 600.0
START_UTILISATION = 0.6
START_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a policy is put into."""

    make: Make = field(default_factory=Make)
    objectives: Objectives = field(default_factory=Objectives)
    start_replicas: int | None = None  # None: for the first quarter hour's load at 60 %
    seed: int = 0  # of routing and crashes


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of the time series; the rate and the attained share are of the step before it."""

    at: float
    offered_per_second: float
    asked: int
    serving: int
    pods: int
    queued: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Figures of a run."""

    requests: int
    attained: int  # within both objectives
    refused: int
    replica_hours: float
    ups: int
    downs: int
    reversals: int  # changes against the one before, within ten minutes
    first_token_p99: float | None  # seconds, of those that got one
    least_serving: int
    crashes: int
    series: Sequence[Moment] = ()

    @property
    def attainment(self) -> float:
        """Share of all requests."""
        return self.attained / self.requests if self.requests else math.nan

    @property
    def actions(self) -> int:
        return self.ups + self.downs


def start_replicas(trace: Trace, scenario: Scenario) -> int:
    """What every policy begins with, where nothing else is said."""
    if scenario.start_replicas is not None:
        return scenario.start_replicas
    span = min(START_SECONDS, trace.seconds)
    physics = scenario.make.physics
    work = sum(
        physics.work_seconds(trace.prompts[i], trace.outputs[i]) for i in trace.between(0, span)
    )
    return max(math.ceil(work / span / START_UTILISATION), 1)


def run(
    trace: Trace,
    policy: Policy,
    scenario: Scenario,
    each: Callable[[Fleet, Meter, float], None] | None = None,
    telling: bool = False,
) -> Outcome:
    """``each`` is called at every look of the policy, before it: for alert rules, for tests.

    ``telling``: the ledger keeps each request's latencies for it.
    """
    ledger = Ledger(trace, scenario.objectives, telling)
    begin = start_replicas(trace, scenario)
    rng = random.Random(scenario.seed)  # noqa: S311
    fleet = Fleet(scenario.make, ledger, begin, rng, trace.seconds)
    meter = Meter(fleet, scenario.make.faults)
    changes: list[tuple[float, int]] = []
    series: list[Moment] = []
    scrape_at, look_at, note_at = SCRAPE_SECONDS - LAG_SECONDS, 0.0, STEP_SECONDS
    offered, least = 0, begin
    while True:
        at = min(scrape_at, look_at, note_at)
        if at > trace.seconds:
            break
        fleet.advance(at)
        least = min(least, len(fleet.serving))
        if at == scrape_at:
            meter.scrape()
            scrape_at += SCRAPE_SECONDS
        if at == look_at:
            if each is not None:
                each(fleet, meter, at)
            before, wanted = fleet.asked, policy.look(fleet, meter, at)
            if wanted != before:
                fleet.ask(wanted)
                changes.append((at, wanted - before))
            look_at += policy.tick_seconds
        if at == note_at:
            rate = (ledger.offered - offered) / STEP_SECONDS
            offered = ledger.offered
            series.append(_moment(fleet, at, rate))
            note_at += STEP_SECONDS
    fleet.advance(trace.seconds + AFTERWARDS_SECONDS)
    return Outcome(
        requests=len(trace),
        attained=sum(ledger.good),
        refused=ledger.refused,
        replica_hours=fleet.pod_seconds / 3600,
        ups=sum(by > 0 for _, by in changes),
        downs=sum(by < 0 for _, by in changes),
        reversals=_reversals(changes),
        first_token_p99=_first_token_p99(ledger),
        least_serving=least,
        crashes=fleet.crashes,
        series=series,
    )


def _moment(fleet: Fleet, at: float, rate: float) -> Moment:
    queued = sum(len(pod.engine.queue) for pod in fleet.pods.values() if pod.engine is not None)
    return Moment(at, rate, fleet.asked, len(fleet.serving), len(fleet.pods), queued)


def _reversals(changes: Sequence[tuple[float, int]]) -> int:
    pairs = itertools.pairwise(changes)
    return sum(
        (one > 0) != (two > 0) and later - earlier <= REVERSAL_SECONDS
        for (earlier, one), (later, two) in pairs
    )


def _first_token_p99(ledger: Ledger) -> float | None:
    arrivals = ledger.trace.arrivals
    waits = sorted(first - arrivals[i] for i, first in enumerate(ledger.first) if first > 0)
    return waits[int(0.99 * len(waits))] if waits else None
