"""The loop while something is broken, on the simulator's fleet with the real decide and judge."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from batchfleet_operator.api.autoscaling import Autoscaling
from batchfleet_operator.simulate import synthetic
from batchfleet_operator.simulate.alarms import SLOW_TOKENS, Alarms
from batchfleet_operator.simulate.faults import Fault, Kind
from batchfleet_operator.simulate.fleet import Fleet, Make
from batchfleet_operator.simulate.meter import Meter
from batchfleet_operator.simulate.ours import Batchfleet
from batchfleet_operator.simulate.readers import Wanted
from batchfleet_operator.simulate.run import Scenario, run

METRICS: tuple[Kind, ...] = ("metrics-gone", "metrics-stale", "metrics-nan", "prometheus-down")
BEGIN, END = 2400.0, 2700.0


@dataclass
class Seen:
    """What was so at every look: time, asked, serving, actions begun."""

    alarms: Alarms
    rows: list[tuple[float, int, int, int]] = field(default_factory=list)

    def look(self, fleet: Fleet, meter: Meter, now: float) -> None:
        self.alarms.look(fleet, meter, now)
        self.rows.append((now, fleet.asked, len(fleet.serving), self.alarms.acted))

    def between(self, begin: float, end: float) -> list[tuple[float, int, int, int]]:
        return [row for row in self.rows if begin <= row[0] < end]


def replay(shape: str, fault: Fault | None, start: int, hours: float, window: int = 120) -> Seen:
    """A run; the window in which the fleet must have sufficed is short, to see it shrink."""
    trace = synthetic.make(f"synthetic:{shape}", Wanted(hours=hours))
    policy = Batchfleet(Autoscaling(max_replicas=20, scale_down_window_seconds=window), start)
    seen = Seen(Alarms(policy))
    scenario = Scenario(Make(faults=[] if fault is None else [fault]), start_replicas=start)
    run(trace, policy, scenario, each=seen.look, telling=True)
    return seen


@pytest.mark.parametrize("kind", METRICS)
def test_without_metrics_nothing_shrinks_and_nothing_acts_and_then_it_goes_on(kind: Kind) -> None:
    fault = Fault(kind, 300.0, 600.0)
    calm = replay("flat", None, start=15, hours=0.6)
    seen = replay("flat", fault, start=15, hours=0.6)
    before, during = seen.between(0, 300)[-1], seen.between(375, 600)
    assert calm.between(375, 600)[-1][1] < calm.between(0, 300)[-1][1], "it would have shrunk"
    assert {row[1] for row in during} == {during[0][1]}, "nothing is changed"
    assert min(row[2] for row in during) == during[0][2] <= before[2]
    assert {row[3] for row in during} == {before[3]}, "no action is begun"
    assert seen.rows[-1][1] < during[0][1], "afterwards it shrinks again by itself"


def test_half_of_the_new_pods_crash_and_the_fleet_still_gets_where_it_must() -> None:
    seen = replay("steps", Fault("pods-crash", 0.0, 4000.0), start=3, hours=1.3)
    calm = replay("steps", None, start=3, hours=1.3)
    serving = [row[2] for row in seen.between(0, 1800)]
    assert min(serving) >= 2
    most_asked = max(row[1] for row in seen.rows)
    assert most_asked <= 2 * max(row[1] for row in calm.rows), "crashes are not answered by more"
    assert max(row[2] for row in seen.rows) > 3


def test_a_reached_quota_takes_nothing_away_and_is_made_up_for_afterwards() -> None:
    fault = Fault("quota", 1500.0, 3000.0)
    seen = replay("steps", fault, start=3, hours=0.95)
    during = seen.between(1800, 3000)
    assert min(row[2] for row in during) >= seen.between(0, 1800)[-1][2]
    assert max(row[1] for row in during) <= 20
    assert seen.rows[-1][2] > max(row[2] for row in during), "the pods come when there is room"


def test_a_slow_engine_gets_a_smaller_batch_and_more_pods_not_fewer() -> None:
    fault = Fault("slow-engine", 600.0, 3000.0, amount=2.5)
    seen = replay("flat", fault, start=6, hours=0.8)
    rules = seen.alarms.judgement
    assert rules is not None
    assert {state.name for state in rules.rules} >= {SLOW_TOKENS}
    assert seen.rows[-1][1] > 6
    assert seen.alarms.acted <= 3, "at most three an hour"
