"""What the automation of one service may look at: the spec, the cluster, the stored status, the
numbers, and why it may be paused.

Made by ``control`` once per look; what several of its parts ask is worked out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from pydantic import ValidationError

from batchfleet_operator import byhand, live, names
from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.api.status import Status
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object, Observed
from batchfleet_operator.metering.signals import Watched
from batchfleet_operator.observed import Fleet
from batchfleet_operator.revisions import Choice
from batchfleet_operator.scaling import leadtime

PAUSED = "paused"


def memory(before: Object) -> Status:
    """The stored status; one that today's models cannot read is no memory."""
    try:
        return Status.parse(before)
    except ValidationError:
        return Status()


@dataclass(frozen=True)
class View:
    """All that is known of one service now."""

    service: BatchInferenceService
    fleet: Fleet
    choice: Choice
    observed: Observed
    before: Status
    config: Config
    now: datetime

    @property
    def watched(self) -> Watched | None:
        return self.observed.watched

    @cached_property
    def rolling(self) -> bool:
        """Whether pods of another revision than the target's are there."""
        target = self.choice.target
        return target is not None and any(
            pod.revision != target.number for pod in self.fleet.staying
        )

    @property
    def asked(self) -> int:
        """Pods that were wanted until now."""
        if self.before.scaling is not None:
            return self.before.scaling.desired_replicas
        if self.service.spec.autoscaling is None:
            return self.service.spec.replicas
        return max((self.fleet.replicas_asked(n) for n in self.fleet.deployments), default=0)

    @cached_property
    def paused(self) -> str | None:
        """Why the automation does nothing now."""
        annotation = names.ANNOTATION_AUTOMATION
        if self.service.spec.paused:
            return "spec.paused holds changes back"
        if self.service.automation == PAUSED:
            return f"the service's annotation {annotation} says {PAUSED}"
        if self.observed.namespace.get(annotation) == PAUSED:
            return f"the namespace's annotation {annotation} says {PAUSED}"
        return None

    @cached_property
    def by_hand(self) -> byhand.Edit | None:
        """Somebody's own number of pods, while one Deployment has them all."""
        target = self.choice.target
        mine = None if target is None else self.fleet.deployments.get(target.number)
        return None if mine is None or self.rolling else byhand.scaled(mine, self.now)

    @cached_property
    def own_limits(self) -> live.Limits | None:
        """The limits of the target as they would be without the automation's own."""
        target = self.choice.target
        return None if target is None else live.limits(self.service.spec, target.engine)

    @property
    def lead_seconds(self) -> float:
        """How long a pod needs to start, as the autoscaler has measured it, or by default."""
        scaling = self.before.scaling
        measured = None if scaling is None else scaling.lead_seconds
        return leadtime.DEFAULT_SECONDS if measured is None else measured
