"""The facts of one rollout at one moment, and the moves that they allow.

``rollout`` and ``judging`` decide at which step it stands; here is what a step means in pods: where
it stops, how many may be missing or too many, and who goes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from batchfleet_operator import names
from batchfleet_operator.api.rollout import Rollout
from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.api.status import RolloutStatus, Step
from batchfleet_operator.metering.signals import Watched
from batchfleet_operator.observed import Fleet, Pod
from batchfleet_operator.problems import Shortage
from batchfleet_operator.rollouts import shares
from batchfleet_operator.rollouts.shares import Share, Stop

QUARTER = 4


@dataclass(frozen=True)
class Orders:
    """What others say about a rollout."""

    monitored: bool = False  # there is a Prometheus to judge by
    watched: Watched | None = None  # what it said
    roll_back: str | None = None  # why
    pause: str | None = None  # why


@dataclass(frozen=True)
class Case:
    """All that is looked at; ``target`` is the revision to run, by its number."""

    service: BatchInferenceService
    fleet: Fleet
    target: int
    before: RolloutStatus | None
    total: int
    now: datetime
    orders: Orders
    promoted: bool = False  # somebody wants this revision, whatever is said of it

    @property
    def spec(self) -> Rollout:
        return self.service.spec.rollout

    @cached_property
    def stable(self) -> int | None:
        return self.fleet.stable

    @cached_property
    def new(self) -> list[Pod]:
        """Staying pods of the target."""
        return [pod for pod in self.fleet.staying if pod.revision == self.target]

    @cached_property
    def old(self) -> list[Pod]:
        """Staying pods of the stable revision."""
        return [pod for pod in self.fleet.staying if pod.revision == self.stable]

    @property
    def complete(self) -> bool:
        """All replicas run the target, are ready, and no other pod stays."""
        ready = all(pod.ready for pod in self.new)
        return ready and 0 < self.total == len(self.new) == len(self.fleet.staying)

    @property
    def comparable(self) -> bool:
        """Whether old pods serve, or did until a moment ago, that new ones can be judged beside."""
        patience = timedelta(seconds=self.spec.judging.sample_seconds)
        return any(pod.ready or self.now - pod.waiting_since < patience for pod in self.old)

    def name(self, revision: int) -> str:
        return names.revision_name(self.service.name, revision)

    def goal(self, step: Step) -> int:
        """Pods of the target at ``step``."""
        match step:
            case "OnePod":
                return min(1, self.total)
            case "Quarter":
                return math.ceil(self.total / QUARTER)
            case "All":
                return self.total

    @cached_property
    def shortage(self) -> Shortage | None:
        """Why a new pod fits nowhere, and since when."""
        return self.fleet.shortage(self.target)

    @property
    def swaps(self) -> bool:
        """Whether old pods may go first, where no node has room for a pod more."""
        return self.total > 1 or self.spec.allow_downtime

    @cached_property
    def in_place(self) -> bool:
        """Whether they do: found out once, it holds until this rollout is over."""
        before = self.before
        told = before is not None and bool(before.in_place) and before.state != "Done"
        own = before is not None and before.revision == self.name(self.target)
        if told and (own or self.target == self.stable):  # this rollout, or the way back from it
            return True
        return self.swaps and self.has_waited_for_room

    @property
    def has_waited_for_room(self) -> bool:
        """Whether a new pod fitted nowhere for as long as the spec would wait."""
        patience = timedelta(seconds=self.spec.unschedulable_seconds)
        return self.shortage is not None and self.now - self.shortage.since >= patience

    @property
    def surge(self) -> int:
        return 0 if self.in_place else self.spec.max_surge

    def stop(self, step: Step) -> Stop | None:
        """Where ``step`` ends; ``None``: it goes on to the end."""
        if step == "All" or self.stable is None:
            return None
        goal = self.goal(step)
        return Stop(goal, min(self.total, self.total + self.surge - goal), self.stable)

    @property
    def hold(self) -> Stop | None:
        """Where it stands: nothing moves, though a total that changes is followed."""
        if self.stable is None:
            return None
        goal = min(self.fleet.replicas_asked(self.target), self.total)
        asked = sum(self.fleet.replicas_asked(n) for n in self.fleet.deployments)
        others = asked - self.fleet.replicas_asked(self.target)
        return Stop(goal, max(self.total - goal, min(others, self.total)), self.stable)

    def moved(self, stop: Stop | None) -> dict[int, int]:
        """Replicas per revision; an old one is left out when its last pod has gone."""
        unavailable = max(self.spec.max_unavailable, 1 if self.in_place else 0)
        moved = shares.step(
            self.total,
            self.target,
            [self._share(number) for number in self.fleet.deployments],
            self.surge,
            unavailable,
            stop,
            least=0 if self.spec.allow_downtime else 1,
        )
        return {
            number: count
            for number, count in sorted(moved.items())
            if number == self.target
            or count
            or self.fleet.replicas_asked(number)
            or self.fleet.of_revision(number)
        }

    def _share(self, number: int) -> Share:
        staying = [pod for pod in self.fleet.of_revision(number) if not pod.leaving]
        broken = sum(pod.problem is not None for pod in staying)
        return Share(
            revision=number,
            asked=self.fleet.replicas_asked(number),
            pods=len(staying),
            ready=sum(pod.ready for pod in staying),
            broken=0 if number == self.stable else broken,
        )
