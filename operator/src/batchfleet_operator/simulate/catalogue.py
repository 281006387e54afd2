"""The policies by name: ``hpa=24`` on the command line becomes one, afresh for every run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from batchfleet_operator.api.autoscaling import Autoscaling
from batchfleet_operator.complaint import meant
from batchfleet_operator.simulate import hpa
from batchfleet_operator.simulate.known import Oracle, Static
from batchfleet_operator.simulate.kpa import KPA
from batchfleet_operator.simulate.ours import Batchfleet
from batchfleet_operator.simulate.policy import Bounds, Policy
from batchfleet_operator.simulate.run import Scenario, start_replicas
from batchfleet_operator.simulate.trace import Trace, TraceError
from batchfleet_operator.simulate.wva import WVA

DELAY_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Setting:
    """Into what a policy is put."""

    trace: Trace
    scenario: Scenario
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Entry:
    """``default``: the setting used where none is given; ``sweep``: from small to large fleets."""

    name: str
    default: float
    meaning: str
    sweep: tuple[float, ...]
    make: Callable[[float, Setting], Policy]


def _batchfleet(percent: float, setting: Setting) -> Policy:
    policy = Autoscaling(
        min_replicas=setting.bounds.low,
        max_replicas=setting.bounds.high,
        target_utilization_percent=round(percent),
    )
    return Batchfleet(policy, start_replicas(setting.trace, setting.scenario))


def _oracle(percent: float, setting: Setting) -> Policy:
    make = setting.scenario.make
    return Oracle(
        setting.trace, make.physics, make.cold_start_seconds, percent / 100, setting.bounds
    )


ENTRIES = (
    Entry(
        "batchfleet",
        70,
        "autoscale.decide; targetUtilizationPercent",
        (90, 80, 70, 60, 50),
        _batchfleet,
    ),
    Entry(
        "hpa",
        24,
        "HPA v2 on running + waiting requests; per pod",
        (40, 36, 32, 28, 24, 20, 16),
        lambda target, setting: hpa.in_flight(target, setting.bounds),
    ),
    Entry(
        "kpa",
        24,
        "Knative's KPA; requests in flight per pod",
        (40, 36, 32, 28, 24, 20, 16, 12),
        lambda target, setting: KPA(target, setting.bounds),
    ),
    Entry(
        "kpa-delay",
        24,
        "the same with a scale-down delay of 300 s",
        (44, 40, 36, 32, 28, 24, 20),
        lambda target, setting: KPA(target, setting.bounds, DELAY_SECONDS),
    ),
    Entry(
        "keda",
        5,
        "KEDA's Prometheus trigger on waiting requests; per pod",
        (10, 5, 2, 1),
        lambda target, setting: hpa.keda(target, setting.bounds),
    ),
    Entry(
        "wva",
        80,
        "llm-d's WVA; KV use in % at which a pod is saturated",
        (80, 14, 12, 10, 8, 6),
        lambda percent, setting: WVA(setting.bounds, percent / 100),
    ),
    Entry(
        "static",
        8,
        "always that many pods",
        (5, 6, 7, 8, 9, 10, 11, 12, 14),
        lambda replicas, _: Static(int(replicas)),
    ),
    Entry(
        "oracle",
        80,
        "has seen the trace; utilisation in %",
        (100, 90, 85, 80, 75, 70),
        _oracle,
    ),
)
BY_NAME = {entry.name: entry for entry in ENTRIES}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A policy and its setting."""

    entry: Entry
    value: float

    @property
    def label(self) -> str:
        return f"{self.entry.name}={self.value:g}"

    def policy(self, setting: Setting) -> Policy:
        return self.entry.make(self.value, setting)


def parse(text: str) -> list[Chosen]:
    """``NAME[=SETTING][,…]``, or ``all``; raises TraceError."""
    if text == "all":
        return [Chosen(entry, entry.default) for entry in ENTRIES]
    return [_one(part.strip()) for part in text.split(",")]


def _one(text: str) -> Chosen:
    name, given, value = text.partition("=")
    entry = BY_NAME.get(name)
    if entry is None:
        near = meant(name, list(BY_NAME)) or "."
        known = ", ".join(BY_NAME)
        raise TraceError(f"--policy {text}: not known{near} Policies: {known}, or all.")
    if not given:
        return Chosen(entry, entry.default)
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise TraceError(f"--policy {text}: {name} takes a number above 0: {entry.meaning}.")
    if name == "batchfleet" and not 10 <= number <= 95:
        raise TraceError(f"--policy {text}: targetUtilizationPercent is 10 to 95.")
    return Chosen(entry, number)
