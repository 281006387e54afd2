"""How many pods each revision runs: the only place that splits the total.

``step`` is one move of a rollout.  It is called with what is there and returns what each
Deployment shall be told; called again and again while pods come and go, it ends with the whole
total on the target.  It keeps two bounds by its own acts, for any number of old revisions:

* never more pods than ``total + max_surge``,
* never fewer ready ones than ``total - max_unavailable``.

A new revision that never gets ready therefore stops at the surge, with the old one serving.
Broken pods of old revisions go at once: they serve nobody, and may hold the GPU that is missing.
(The caller counts none of a stable revision as broken: those may come back, and in a rollout that
is stuck they are all that serves.)
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


def step(
    total: int, target: int, shares: Sequence[Share], max_surge: int, max_unavailable: int
) -> dict[int, int]:
    """Replicas per revision after the next move.

    ``shares`` holds every revision that has a Deployment, the target's too where it has one.
    """
    new = next((each for each in shares if each.revision == target), Share(target, 0, 0, 0))
    old = sorted((each for each in shares if each.revision != target), key=lambda s: s.revision)
    new_serving = min(new.serving, total)

    shrunk = _shrink(old, new_serving, floor=max(total - max_unavailable, 0))
    ceiling = total + max_surge
    # Pods that were just told to go are still there: growing waits until they are leaving.
    free = ceiling - sum(max(shrunk[each.revision], each.pods) for each in old)
    grown = max(min(total, free), min(new.asked, total))
    # After the total was lowered in the middle of a rollout, unready new pods make room.
    room = ceiling - sum(shrunk.values())
    return {**shrunk, target: max(min(grown, room), new_serving)}


def _shrink(old: Sequence[Share], new_serving: int, floor: int) -> dict[int, int]:
    """Old revisions without broken pods, and without what is above ``floor``, oldest first.

    Of the others, pods that are only starting go before pods that serve.
    """
    serving = new_serving + sum(share.serving for share in old)
    hopeful = serving + sum(share.starting for share in old)
    left = {}
    for share in old:
        starting_gone = min(share.starting, max(hopeful - floor, 0))
        serving_gone = min(share.serving, max(serving - floor, 0))
        hopeful -= starting_gone
        serving -= serving_gone
        left[share.revision] = share.starting - starting_gone + share.serving - serving_gone
    return left
