"""All that was decided and seen of one service, for ``status`` to put into words.

Made by ``plan`` after everything is decided; what several conditions ask of it is worked out here,
once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.conditions import Said
from batchfleet_operator.control import Control
from batchfleet_operator.live import LiveSettings
from batchfleet_operator.observed import Fleet, Pod
from batchfleet_operator.problems import Problem
from batchfleet_operator.revisions import Choice
from batchfleet_operator.rollouts.rollout import Split


@dataclass(frozen=True)
class Situation:
    """All that a condition may speak of."""

    service: BatchInferenceService
    fleet: Fleet
    choice: Choice
    live: Mapping[int, LiveSettings]  # by revision that has pods, and the target's
    conflicts: Sequence[tuple[str, str]]  # kind and name of what we want and somebody else has
    pruned: str | None
    now: datetime
    control: Control
    split: Split
    bypass: Said | None = None  # what is said of the way past the sidecars, where it is asked for
    guarded: bool = True  # a NetworkPolicy says who reaches the pods

    @property
    def total(self) -> int:
        return self.control.total

    @cached_property
    def current(self) -> list[Pod]:
        """Staying pods of the target revision."""
        target = self.choice.target
        return [p for p in self.fleet.staying if target is not None and p.revision == target.number]

    @cached_property
    def complete(self) -> bool:
        """All replicas run the target, are ready, and no other pod stays."""
        return (
            self.choice.target is not None
            and len(self.current) == len(self.fleet.staying) == self.total
            and all(pod.ready for pod in self.current)
        )

    @cached_property
    def is_watched(self) -> bool:
        """Whether all pods run a revision that is not trusted yet."""
        rollout = self.split.status
        watched = rollout is not None and rollout.state in ("Judging", "Held", "Paused")
        return watched and self.complete

    @cached_property
    def trouble(self) -> Problem | None:
        """The first thing that keeps a pod of the target from serving."""
        target = self.choice.target
        if target is None:
            return None
        refused = self.fleet.refusal(target.number)
        if refused is not None and len(self.current) < self.total:
            return refused
        return next((pod.problem for pod in self.current if pod.problem is not None), None)

    @cached_property
    def stuck(self) -> list[Pod]:
        """Pods of the target that are not ready for longer than the spec allows."""
        allowed = timedelta(seconds=self.service.spec.rollout.progress_deadline_seconds)
        late = self.now - allowed
        return [pod for pod in self.current if not pod.ready and pod.waiting_since <= late]

    @cached_property
    def unconfirmed(self) -> list[Pod]:
        """Ready pods whose sidecar has not said that it runs the settings wanted now."""
        return [pod for pod in self.fleet.ready if not self._confirmed(pod)]

    @cached_property
    def keyless(self) -> list[tuple[str, str]]:
        """Ready pods that cannot tell callers apart as they should, with what they say."""
        return [
            (pod.name, pod.state.access_error)
            for pod in self.fleet.ready
            if pod.state is not None and pod.state.access_error is not None
        ]

    def _confirmed(self, pod: Pod) -> bool:
        wanted = self.live.get(pod.revision)
        if pod.state is None or wanted is None:
            return False
        return pod.state.settings_hash == wanted.hash and pod.state.settings_error is None
