"""How many pods each revision runs: the only place that splits the total.

``step`` is one move of a rollout.  It is called with what is there and returns what each
Deployment shall be told; called again and again while pods come and go, it ends with the whole
total on the target.  It keeps two bounds by its own acts, for any number of old revisions:

* never more pods than ``total + max_surge``,
* never fewer ready ones than ``total - max_unavailable``, nor than ``least``.

A new revision that never gets ready therefore stops at the surge, with the old one serving.
Broken pods of old revisions go at once: they serve nobody, and may hold the GPU that is missing.
(The caller counts none of a stable revision as broken: those may come back, and in a rollout that
is stuck they are all that serves.)

A :class:`Stop` is a place on the way: no more new pods than its ``goal``, and ``rest`` old ones
beside them.  ``rollout`` decides where the stops are and how long one is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """One revision's part of the fleet."""

    revision: int
    asked: int  # replicas that its Deployment is told to run
    pods: int  # that exist and are not leaving
    ready: int  # of those
    broken: int = 0  # of those: not ready, and not going to be

    @property
    def serving(self) -> int:
        """Ready pods that stay: of too many pods a ReplicaSet removes the unready ones first."""
        return min(self.ready, self.asked)

    @property
    def starting(self) -> int:
        """Pods that do not serve yet, or not at this moment, but may soon."""
        return max(self.asked - self.serving - self.broken, 0)


@dataclass(frozen=True)
class Stop:
    """Where a rollout stands still until it is told to go on."""

    goal: int  # pods of the target, at most
    rest: int  # pods of old revisions that stay beside them
    base: int  # the old revision that grows, where too few are left for that


def step(
    total: int,
    target: int,
    shares: Sequence[Share],
    max_surge: int,
    max_unavailable: int,
    stop: Stop | None = None,
    least: int = 0,
) -> dict[int, int]:
    """Replicas per revision after the next move.

    ``shares`` holds every revision that has a Deployment, the target's too where it has one.
    ``least``: ready pods that are never taken, whatever ``max_unavailable`` allows.
    """
    new = next((each for each in shares if each.revision == target), Share(target, 0, 0, 0))
    old = sorted((each for each in shares if each.revision != target), key=lambda s: s.revision)
    new_serving = min(new.serving, total)
    goal = total if stop is None else min(stop.goal, total)
    ceiling = total + max_surge
    rest = 0 if stop is None else min(stop.rest, max(ceiling - max(goal, new_serving), 0))

    floor = max(total - max_unavailable, 0)
    shrunk = _shrink(
        old,
        hopeful_floor=max(floor - new_serving, rest),
        serving_floor=max(max(floor, min(least, total)) - new_serving, rest),
    )
    # Pods that were just told to go are still there: growing waits until they are leaving.
    there = sum(max(shrunk[each.revision], each.pods) for each in old)
    grown = max(min(goal, ceiling - there), min(new.asked, goal))
    # After the total was lowered in the middle of a rollout, unready new pods make room.
    room = ceiling - sum(shrunk.values())
    moved = {**shrunk, target: max(min(grown, room), new_serving)}
    if stop is not None and stop.base in shrunk:
        free = ceiling - there - max(moved[target], new.pods)
        moved[stop.base] += max(min(rest - sum(shrunk.values()), free), 0)
    return moved


def _shrink(old: Sequence[Share], hopeful_floor: int, serving_floor: int) -> dict[int, int]:
    """Old revisions without broken pods, and without what is above the floors, oldest first.

    Pods that are only starting go before pods that serve; they count for the first floor alone.
    """
    serving = sum(share.serving for share in old)
    hopeful = serving + sum(share.starting for share in old)
    left = {}
    for share in old:
        starting_gone = min(share.starting, max(hopeful - hopeful_floor, 0))
        serving_gone = min(share.serving, max(serving - serving_floor, 0))
        hopeful -= starting_gone
        serving -= serving_gone
        left[share.revision] = share.starting - starting_gone + share.serving - serving_gone
    return left
