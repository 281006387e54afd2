"""What the cells come to: a policy's settings as points, and what it costs to reach a share.

The comparison is at equal attainment, in the baselines' favour: of each baseline the best mix of
the settings that were tried, chosen with hindsight on the very trace it is judged on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.autoscale.grid import Cell


@dataclass(frozen=True, slots=True)
class Pooled:
    """One policy at one setting over all starts."""

    policy: str
    setting: float
    attainment: float  # share of all requests, 0 to 1
    replica_hours: float  # per day
    actions: float  # per day
    reversals: float  # per day

    @property
    def label(self) -> str:
        return f"{self.policy}={self.setting:g}"


def pool(cells: Sequence[Cell]) -> list[Pooled]:
    """By policy and setting, in the order in which they were run."""
    groups: dict[tuple[str, float], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.policy, cell.setting), []).append(cell)
    return [_pooled(*key, group) for key, group in groups.items()]


def _pooled(policy: str, setting: float, cells: Sequence[Cell]) -> Pooled:
    per_day = 24 / sum(cell.hours for cell in cells)
    return Pooled(
        policy,
        setting,
        sum(cell.attained for cell in cells) / sum(cell.requests for cell in cells),
        per_day * sum(cell.replica_hours for cell in cells),
        per_day * sum(cell.actions for cell in cells),
        per_day * sum(cell.reversals for cell in cells),
    )


def cost(points: Sequence[Pooled], attainment: float) -> float | None:
    """Replica-hours a day at which these settings reach ``attainment``; None: none of them does.

    Between two settings it is interpolated, along the lower hull: no setting that needs more for
    less counts.
    """
    best: float | None = None
    for one in points:
        if one.attainment >= attainment and (best is None or one.replica_hours < best):
            best = one.replica_hours
        for other in points:
            if one.attainment < attainment <= other.attainment:
                share = (attainment - one.attainment) / (other.attainment - one.attainment)
                between = one.replica_hours + share * (other.replica_hours - one.replica_hours)
                if best is None or between < best:
                    best = between
    return best


def cheapest(points: Sequence[Pooled], attainment: float) -> Pooled | None:
    """The setting with the fewest replica-hours that reaches it: how a baseline is tuned.

    Where none does, the one that comes nearest.
    """
    if not points:
        return None
    enough = [point for point in points if point.attainment >= attainment]
    if enough:
        return min(enough, key=lambda point: point.replica_hours)
    return max(points, key=lambda point: point.attainment)


def of(points: Sequence[Pooled], policy: str, setting: float | None = None) -> list[Pooled]:
    """Those of one policy, or one of its settings."""
    return [
        point
        for point in points
        if point.policy == policy and (setting is None or point.setting == setting)
    ]
