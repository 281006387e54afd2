"""Presets: ready-made rules; and what a rule of a spec comes to once all is filled in.

Comes first in ``alerts.judge``.  The table here is the one that docs/api.md shows; the numbers
themselves are asked for in ``promql``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from batchfleet_operator.api.alerts import (
    Action,
    ActionType,
    AlertAction,
    AutomationMode,
    PresetName,
)
from batchfleet_operator.remediation.case import Case

WINDOW_SECONDS = 120
CONFIRM_SECONDS = 180
MIN_SAMPLES = 100
LEAST_VERIFY_SECONDS = 600.0
LEAST_COOLDOWN_SECONDS = 600.0
RECOVERED_SHARE = 0.8
"""Of the bound: a number just below it would be broken again with the next request."""
RECOVER_PER_CONFIRM = 5 / 3
"""Recovered takes longer to believe than broken: 5 minutes where it is confirmed in 3."""
SHRINK_PERCENT = 75
GROW_PERCENT = 125
SHED_PERCENT = 50
LEAST_BATCH_SHARE = 0.25
"""Of the spec's own limit: how far a preset without bounds shrinks the batch."""


@dataclass(frozen=True, slots=True)
class Preset:
    """A number, its bound, and what is done where the spec names no action."""

    number: str  # what the number is, for people
    bound: float
    action: ActionType
    below: bool = False  # broken below the bound, not above
    percent: int = SHRINK_PERCENT  # one step of ScaleBatchSize
    of_baseline: bool = False  # the bound is a share of what is usual
    best: float | None = None  # below a bound: the best that it can be
    min_samples: int = MIN_SAMPLES  # 0: not a number about requests
    latency: bool = False  # a queue makes it worse, and a smaller batch the queue
    sheds: bool = False  # where the fleet cannot grow, the queue gets shorter


PRESETS: Mapping[PresetName, Preset] = {
    "RequestLatency": Preset(
        "95th percentile of the time to a whole answer, seconds", 1, "ScaleBatchSize", latency=True
    ),
    "TimeToFirstToken": Preset(
        "95th percentile of the time to the first token, seconds",
        2,
        "ScaleBatchSize",
        latency=True,
    ),
    # Slower than people read.
    "InterTokenLatency": Preset(
        "95th percentile of the time between tokens, seconds",
        0.075,
        "ScaleBatchSize",
        latency=True,
    ),
    "ErrorRate": Preset(
        "share of engine calls that fail; 429, 503 and the client's own errors do not count",
        0.05,
        "RestartPod",
    ),
    "Throughput": Preset(
        "engine calls that end per second, as a share of what is usual",
        0.8,
        "ScaleBatchSize",
        below=True,
        percent=GROW_PERCENT,
        of_baseline=True,
        best=1,
    ),
    "Load": Preset(
        "requests in flight, as a share of the limit", 0.9, "ScaleOut", min_samples=0, sheds=True
    ),
    # No pod serves, or next to none. More pods would be as ill, and there is none to keep.
    "ServiceDown": Preset(
        "share of the pods that take requests", 0.1, "Rollback", below=True, best=1, min_samples=0
    ),
    # Any pod with work that did no iteration for the whole window.
    "EngineStalled": Preset(
        "pods that have work and do none of it", 0, "RestartPod", min_samples=0
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One rule of a spec, with everything filled in."""

    name: str
    mode: AutomationMode
    preset: PresetName | None
    alert_name: str | None
    is_query: bool
    bound: float  # of rules with alertName: meaningless
    below: bool
    of_baseline: bool
    best: float | None
    latency: bool
    sheds: bool
    action: ActionType
    factor: float  # one step
    least: int | None  # live limit that ScaleBatchSize never goes below
    most: int | None
    min_samples: int
    window_seconds: float
    confirm_seconds: float
    recover_seconds: float
    verify_seconds: float
    cooldown_seconds: float

    def is_broken(self, value: float, baseline: float | None) -> bool:
        """Whether ``value`` is out of bounds."""
        bound = self._bound(baseline)
        return value < bound if self.below else value > bound

    def is_well(self, value: float, baseline: float | None) -> bool:
        """Whether ``value`` is so far within that it counts as recovered."""
        if not self.below:
            return value <= self._bound(baseline) * RECOVERED_SHARE
        better = self.bound / RECOVERED_SHARE
        if self.best is not None:  # what is nearly whole cannot get a quarter better
            better = min(better, (self.bound + self.best) / 2)
        return value >= better * (baseline if self.of_baseline and baseline is not None else 1)

    def is_worse(self, value: float, than: float, by: float) -> bool:
        """Whether ``value`` is worse than ``than`` by more than the share ``by``."""
        return value < than * (1 - by) if self.below else value > than * (1 + by)

    def _bound(self, baseline: float | None) -> float:
        return self.bound * baseline if self.of_baseline and baseline is not None else self.bound

    @property
    def grows(self) -> bool:
        """Whether its action makes the batch larger."""
        return self.action == "ScaleBatchSize" and self.factor > 1

    @property
    def shrinks(self) -> bool:
        return self.action == "ScaleBatchSize" and self.factor < 1


def policy(rule: AlertAction, case: Case) -> Policy:
    """``rule`` with everything filled in."""
    preset = None if rule.preset is None else PRESETS[rule.preset]
    action = rule.action or Action(type="Notify" if preset is None else preset.action)
    lead = case.lead_seconds
    confirm = float(_or(rule.confirm_seconds, CONFIRM_SECONDS))
    # An alert's own window is not known.
    usual_window = WINDOW_SECONDS if rule.alert_name is None else confirm
    window = float(_or(rule.window_seconds, usual_window))
    below = rule.below is not None if preset is None else preset.below
    said = rule.below if below else rule.above
    usual = 0.0 if preset is None else preset.bound
    samples = MIN_SAMPLES if preset is None else preset.min_samples
    return Policy(
        name=rule.name,
        mode=rule.mode or case.remediation.mode,
        preset=rule.preset,
        alert_name=rule.alert_name,
        is_query=rule.query is not None,
        bound=usual if said is None else float(said),
        below=below,
        of_baseline=preset is not None and preset.of_baseline,
        best=None if preset is None else preset.best,
        latency=preset is not None and preset.latency,
        sheds=preset is not None and preset.sheds,
        action=action.type,
        factor=_percent(action, preset) / 100,
        least=action.min_batch_size or _quarter(case.own_limit),
        most=action.max_batch_size or case.own_limit,
        min_samples=0 if rule.alert_name else _or(rule.min_samples, samples),
        window_seconds=window,
        confirm_seconds=confirm,
        recover_seconds=confirm * RECOVER_PER_CONFIRM,
        verify_seconds=float(_or(rule.verify_seconds, max(LEAST_VERIFY_SECONDS, 2 * lead))),
        cooldown_seconds=float(
            _or(rule.cooldown_seconds, max(LEAST_COOLDOWN_SECONDS, 2 * window + lead))
        ),
    )


def may_do(rule: AlertAction) -> tuple[ActionType, ...]:
    """What ``proposal`` can come to for ``rule``, which is not only its own action: a queue is
    fought with more pods or a shorter queue, and pods that are all ill with the revision before."""
    preset = None if rule.preset is None else PRESETS[rule.preset]
    action = rule.action or Action(type="Notify" if preset is None else preset.action)
    instead: tuple[ActionType, ...] = ()
    if action.type == "RestartPod":
        instead = ("Rollback",)
    elif preset is not None and preset.latency and action.type == "ScaleBatchSize":
        instead = ("ScaleOut", "Shed")
    elif preset is not None and preset.sheds and action.type == "ScaleOut":
        instead = ("Shed",)
    return (action.type, *instead)


def number(value: float) -> str:
    """``value`` as the API writes numbers: with a point, no exponent, at most 16 characters."""
    text = f"{max(value, 0.0):.6f}".rstrip("0").rstrip(".")
    return text if len(text) <= 16 else f"{min(value, 1e15):.0f}"


def horizon_seconds(rule: AlertAction) -> float:
    """How far back readings of ``rule`` must be kept, a look's distance not counted."""
    confirm = _or(rule.confirm_seconds, CONFIRM_SECONDS)
    window = _or(rule.window_seconds, WINDOW_SECONDS)
    return max(confirm * RECOVER_PER_CONFIRM, 2.0 * window)


def _percent(action: Action, preset: Preset | None) -> int:
    if action.factor_percent is not None:
        return action.factor_percent
    if action.type == "Shed":
        return SHED_PERCENT
    return SHRINK_PERCENT if preset is None else preset.percent


def _quarter(limit: int | None) -> int | None:
    return None if limit is None else max(math.ceil(limit * LEAST_BATCH_SHARE), 1)


def _or(said: int | None, otherwise: float) -> int:
    """0 is said, too."""
    return int(otherwise) if said is None else said
