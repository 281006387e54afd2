"""What batchfleet does while something is broken: a table, and bars that allow nothing.

Each fault is put into the same run, with the fleet at its largest just before it.  The tests
(tests/operator/test_simulate_faults.py) hold more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from batchfleet_operator.api.autoscaling import Autoscaling
from batchfleet_operator.simulate import faults, synthetic
from batchfleet_operator.simulate.alarms import Alarms
from batchfleet_operator.simulate.faults import Fault, Kind
from batchfleet_operator.simulate.fleet import Fleet, Make
from batchfleet_operator.simulate.meter import Meter
from batchfleet_operator.simulate.ours import Batchfleet
from batchfleet_operator.simulate.readers import Wanted
from batchfleet_operator.simulate.run import Scenario, run, start_replicas
from bench.report import Bar, Report

BEGIN, SECONDS = 6300.0, 300.0
"""In synthetic:day, after the peak: the load falls, so that a wrong zero would shrink the fleet."""
GROWTH_BEGIN, GROWTH_SECONDS = 1800.0, 1800.0
"""While it grows: for faults of new pods."""
CASES: tuple[tuple[Kind, float, float], ...] = (
    ("metrics-gone", BEGIN, SECONDS),
    ("metrics-stale", BEGIN, SECONDS),
    ("metrics-nan", BEGIN, SECONDS),
    ("prometheus-down", BEGIN, SECONDS),
    ("pods-crash", GROWTH_BEGIN, GROWTH_SECONDS),
    ("quota", GROWTH_BEGIN, GROWTH_SECONDS),
)


@dataclass
class Watch:
    """What is noted at every look."""

    fault: Fault
    alarms: Alarms
    before: int | None = None  # serving when it began
    least: int = 10**9  # serving while it held
    acted_before: int = 0
    acted: int = 0
    downs: int = 0
    asked: list[int] = field(default_factory=list)

    def look(self, fleet: Fleet, meter: Meter, now: float) -> None:
        self.alarms.look(fleet, meter, now)
        if now < self.fault.begin:
            self.acted_before = self.alarms.acted
        if self.fault.holds(now):
            if self.before is None:
                self.before = len(fleet.serving)
            self.least = min(self.least, len(fleet.serving))
            self.acted = self.alarms.acted - self.acted_before
            if self.asked and fleet.asked < self.asked[-1]:
                self.downs += 1
            self.asked.append(fleet.asked)


def add(report: Report) -> None:
    """One row for each fault, and the bars."""
    trace = synthetic.make("synthetic:day", Wanted())
    begin = start_replicas(trace, Scenario())
    untouched = Batchfleet(Autoscaling(max_replicas=40), begin)
    calm = run(trace, untouched, Scenario(), each=Alarms(untouched).look, telling=True)
    shrunk = acted = stuck = 0
    for kind, since, seconds in CASES:
        fault = Fault(kind, since, since + seconds)
        scenario = Scenario(Make(faults=[fault]))
        policy = Batchfleet(Autoscaling(max_replicas=40), begin)
        watch = Watch(fault, Alarms(policy))
        outcome = run(trace, policy, scenario, each=watch.look, telling=True)
        end, calm_end = outcome.series[-1], calm.series[-1]
        before = watch.before or 0
        shrunk += watch.least < before
        acted += watch.acted if kind in faults.METRICS else 0
        stuck += end.serving < calm_end.serving
        report.add(
            "Faults, batchfleet on synthetic:day",
            fault=kind,
            seconds=seconds,
            serving_before=before,
            least_during=watch.least,
            smaller_sizes_asked=watch.downs,
            alert_actions=watch.acted,
            attained=f"{100 * outcome.attainment:.2f} %",
            without_fault=f"{100 * calm.attainment:.2f} %",
            pods_at_the_end=end.serving,
            without=calm_end.serving,
        )
    report.bars += [
        Bar("faults that left fewer pods serving than before", shrunk, at_most=0),
        Bar("alert actions while metrics were missing", acted, at_most=0),
        Bar("faults after which fewer pods served than without", stuck, at_most=0),
    ]
