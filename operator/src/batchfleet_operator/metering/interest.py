"""What one service wants to know of Prometheus, and for how long it must be remembered.

Pure: from the object as the store has it.  ``sampler`` adds up all services' interests to a few
queries and gives each its part of the answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchfleet_operator.api.alerts import AlertAction
from batchfleet_operator.api.rollout import Analysis
from batchfleet_operator.api.service import BatchInferenceService, PrometheusSource
from batchfleet_operator.remediation import presets
from batchfleet_operator.rollouts import canary
from batchfleet_operator.scaling import autoscale

SIGNALS_SECONDS = 600.0
"""Without autoscaling; work and slope look back five minutes."""
OVER = frozenset({"Done", "RolledBack"})
"""States of a rollout that needs no more numbers."""
PER_POD = frozenset({"ErrorRate", "EngineStalled"})
"""Presets that are about single pods, whatever their action."""
MARGIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One of our own numbers, for one reading."""

    number: str  # of promql.ALL_NUMBERS
    window_seconds: float
    by_pod: bool


@dataclass(frozen=True, slots=True)
class Custom:
    """A query of the service's own, for one reading."""

    query: str
    samples_query: str | None
    values: Mapping[str, str]  # of $namespace, $service, …


@dataclass(frozen=True, slots=True)
class Interest:
    """One service's.  The mappings are by name of the reading."""

    source: PrometheusSource | None  # None: the operator's own
    engine_tells: bool  # its kind of engine has metrics of its own
    labels: Mapping[str, str]  # that the spec puts on the PodMonitor
    automatic: bool  # something acts on the numbers, so that they must wake the service's loop
    signals_seconds: float = 0.0  # how long signals are remembered
    asks: Mapping[str, Ask] = field(default_factory=dict)
    customs: Mapping[str, Custom] = field(default_factory=dict)
    alerts: Mapping[str, str] = field(default_factory=dict)
    keep_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def rules(self) -> list[str]:
        """Names of all readings."""
        return [*self.asks, *self.customs, *self.alerts]

    def changed(self, new: Interest) -> list[str]:
        """Readings that are of something else now, under the same name."""
        return [
            name
            for name in self.rules
            if any(
                old.get(name) != now.get(name)
                for old, now in (
                    (self.asks, new.asks),
                    (self.customs, new.customs),
                    (self.alerts, new.alerts),
                )
            )
        ]


def of(service: BatchInferenceService, rollout: Mapping[str, Any] | None) -> Interest:
    """``rollout``: as the status tells of it."""
    spec = service.spec
    rolling = rollout is not None and rollout.get("state") not in OVER
    rules = spec.alert_actions or ()
    asks = {rule.name: _ask(rule) for rule in rules if rule.preset is not None}
    values = {"namespace": service.namespace, "service": service.name}
    customs = {
        rule.name: Custom(rule.query, rule.samples_query, values | {"window": _window(rule)})
        for rule in rules
        if rule.query is not None
    }
    alerts = {rule.name: rule.alert_name for rule in rules if rule.alert_name is not None}
    keep = {rule.name: presets.horizon_seconds(rule) + MARGIN_SECONDS for rule in rules}
    if rolling and spec.rollout.strategy == "Auto":
        seconds = spec.rollout.judging.sample_seconds
        revision = str(rollout["revision"]).rpartition("-")[2] if rollout else ""
        values = values | {"revision": revision, "window": f"{seconds}s"}
        _judge(spec.rollout.analysis, seconds, values, asks, customs, alerts, keep)
    scaled = spec.autoscaling
    automatic = rolling or scaled is not None or bool(rules)
    window = 0 if scaled is None else autoscale.window_seconds(scaled)
    monitoring = spec.monitoring
    return Interest(
        source=None if monitoring is None else monitoring.prometheus,
        engine_tells=spec.engine.type == "vLLM",
        labels=(monitoring.labels if monitoring else None) or {},
        automatic=automatic,
        signals_seconds=max(window, SIGNALS_SECONDS) + MARGIN_SECONDS if automatic else 0.0,
        asks=asks,
        customs=customs,
        alerts=alerts,
        keep_seconds=keep,
    )


def _ask(rule: AlertAction) -> Ask:
    restarts = rule.action is not None and rule.action.type == "RestartPod"
    window = rule.window_seconds or presets.WINDOW_SECONDS
    return Ask(rule.preset or "", float(window), rule.preset in PER_POD or restarts)


def _window(rule: AlertAction) -> str:
    return f"{rule.window_seconds or presets.WINDOW_SECONDS}s"


def _judge(
    analysis: Analysis | None,
    seconds: float,
    values: Mapping[str, str],
    asks: dict[str, Ask],
    customs: dict[str, Custom],
    alerts: dict[str, str],
    keep: dict[str, float],
) -> None:
    """Add what a rollout's step is judged by."""
    names: Sequence[str] = (canary.ANALYSIS,)
    if analysis is None:
        names = (canary.ERRORS, canary.TTFT)
        asks.update({name: Ask(name, float(seconds), by_pod=True) for name in names})
    elif analysis.query is not None:
        customs[canary.ANALYSIS] = Custom(analysis.query, None, values)
    elif analysis.alert_name is not None:
        alerts[canary.ANALYSIS] = analysis.alert_name
    keep.update(dict.fromkeys(names, seconds + MARGIN_SECONDS))
