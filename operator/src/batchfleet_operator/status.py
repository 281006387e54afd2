"""What the operator tells: conditions, counts, limits in force, and events on transitions.

Comes last in ``plan``, after everything is decided, and decides nothing.  Each condition is one
small function from a :class:`Situation`; ``Ready`` repeats the first of all reasons that something
is not as specified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from batchfleet_operator import names
from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.conditions import Said, conditions, time
from batchfleet_operator.decision import Object
from batchfleet_operator.live import LiveSettings
from batchfleet_operator.observed import Fleet, Pod
from batchfleet_operator.problems import Problem
from batchfleet_operator.revisions import Choice, is_stable


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

    @property
    def total(self) -> int:
        return self.service.spec.replicas

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

    def _confirmed(self, pod: Pod) -> bool:
        wanted = self.live.get(pod.revision)
        if pod.state is None or wanted is None:
            return False
        return pod.state.settings_hash == wanted.hash and pod.state.settings_error is None


def of(situation: Situation, before: Object) -> Object:
    """The whole status. ``before`` is the one that is stored: times in it stay where they can."""
    service, target = situation.service, situation.choice.target
    status: Object = {
        "observedGeneration": service.generation,
        "replicas": len(situation.fleet.staying),
        "readyReplicas": len(situation.fleet.ready),
        "selector": ",".join(f"{k}={v}" for k, v in names.pod_selector(service.name).items()),
        "conditions": conditions(
            {
                names.READY: _ready(situation),
                names.AVAILABLE: _available(situation),
                names.PROGRESSING: _progressing(situation),
                names.MODEL_READY: _model_ready(situation),
                names.SETTINGS_APPLIED: _settings_applied(situation),
            },
            before,
            service.generation,
            situation.now,
        ),
    }
    if target is not None:
        status["revision"] = names.revision_name(service.name, target.number)
        status["images"] = dict(target.images)
        status["effective"] = _effective(situation.live[target.number], before, situation.now)
    stable = stable_revision(situation)
    if stable is not None:
        status["stableRevision"] = names.revision_name(service.name, stable)
    return status


def stable_revision(situation: Situation) -> int | None:
    """The target once it is complete; until then the one that is labelled so."""
    if situation.choice.target is not None and situation.complete and situation.total > 0:
        return situation.choice.target.number
    fleet = situation.fleet
    return max((n for n in fleet.controller_revisions if is_stable(fleet, n)), default=None)


def _effective(live: LiveSettings, before: Object, now: datetime) -> Object:
    """The limits of the wanted revision, and since when they are these."""
    limits = {
        "maxBatchSize": live.max_batch_size,
        "maxNumSeqs": live.max_num_seqs,
        "source": live.source,
    }
    held = {name: value for name, value in limits.items() if value is not None}
    was = dict(before.get("effective", {}))
    since = was.pop("since", None)
    return held | {"since": since if since and was == held else time(now)}


def _ready(situation: Situation) -> Said:
    """Everything at once: the first rule that has something to say, says it."""
    for rule in (_crd_is_current, _names_are_free, _spec_is_accepted, _not_held_back, _pods_serve):
        said = rule(situation)
        if said is not None:
            return said
    settings = _settings_applied(situation)
    if settings.status == "False":
        return settings
    if situation.total == 0:
        return Said("True", names.SCALED_TO_ZERO, "no replicas are asked for, and there are none")
    return Said("True", names.AS_SPECIFIED, f"all pods ({situation.total}) serve as specified")


def _crd_is_current(situation: Situation) -> Said | None:
    if situation.pruned is None:
        return None
    return Said(
        "False",
        names.CRD_OUTDATED,
        f"the cluster's CRD is older than the operator and drops {situation.pruned}: "
        "apply crds/ of the operator's release",
    )


def _names_are_free(situation: Situation) -> Said | None:
    if not situation.conflicts:
        return None
    taken = ", ".join(f"{kind} {name}" for kind, name in situation.conflicts)
    return Said(
        "False",
        names.NAME_CONFLICT,
        f"not ours, so left alone: {taken}; delete or rename what is there, "
        "or give this service another name",
    )


def _spec_is_accepted(situation: Situation) -> Said | None:
    problem = situation.choice.problem
    return None if problem is None else Said("False", problem.reason, problem.message)


def _not_held_back(situation: Situation) -> Said | None:
    if not situation.service.spec.paused or (situation.choice.as_asked and situation.complete):
        return None
    return Said("False", names.PAUSED, "spec.paused holds changes back: set it to false to go on")


def _pods_serve(situation: Situation) -> Said | None:
    if situation.choice.as_asked and situation.complete:
        return None
    trouble = situation.trouble
    if trouble is not None:
        return Said("False", trouble.reason, trouble.message)
    return _late(situation) or Said("False", names.ROLLING_OUT, _count(situation))


def _late(situation: Situation) -> Said | None:
    if not situation.stuck:
        return None
    pods = ", ".join(pod.name for pod in situation.stuck)
    allowed = situation.service.spec.rollout.progress_deadline_seconds
    return Said(
        "False",
        names.PROGRESS_DEADLINE_EXCEEDED,
        f"not ready for more than {allowed} seconds (rollout.progressDeadlineSeconds): {pods}",
    )


def _count(situation: Situation) -> str:
    target = situation.choice.target
    if target is None:
        return "the first revision is being made"
    ready = sum(pod.ready for pod in situation.current)
    others = len(situation.fleet.staying) - len(situation.current)
    name = names.revision_name(situation.service.name, target.number)
    said = f"{ready} of {situation.total} pods of revision {name} are ready"
    return said + (f", {others} of other revisions remain" if others else "")


def _available(situation: Situation) -> Said:
    ready = len(situation.fleet.ready)
    if ready:
        asked = f"{ready} ready pods, {situation.total} asked for"
        return Said("True", names.SERVING, asked)
    if situation.total == 0:
        return Said("False", names.SCALED_TO_ZERO, "no replicas are asked for")
    return Said("False", names.NO_READY_POD, "no pod takes requests")


def _progressing(situation: Situation) -> Said:
    held = _names_are_free(situation) or _spec_is_accepted(situation)
    if held is not None:
        return held
    if situation.service.spec.paused:
        return Said("Unknown", names.PAUSED, "spec.paused holds changes back")
    if situation.choice.as_asked and situation.complete:
        return Said("True", names.ROLLED_OUT, _count(situation))
    return _late(situation) or Said("True", names.ROLLING_OUT, _count(situation))


def _model_ready(situation: Situation) -> Said:
    warm = [pod for pod in situation.current if pod.ready]
    if warm:
        return Said("True", names.WARM, "the model has answered a completion")
    if situation.total == 0:
        return Said("Unknown", names.SCALED_TO_ZERO, "no replicas are asked for")
    trouble = situation.trouble
    if trouble is not None:
        return Said("False", trouble.reason, trouble.message)
    return Said("False", names.STARTING, "no pod of this revision has answered a completion yet")


def _settings_applied(situation: Situation) -> Said:
    ready = situation.fleet.ready
    if not ready:
        return Said("Unknown", names.NO_READY_POD, "no pod is ready to say which settings it runs")
    for pod in situation.unconfirmed:
        if pod.state is not None and pod.state.settings_error is not None:
            return Said(
                "False",
                names.SETTINGS_REJECTED,
                f"pod {pod.name} keeps its former settings: {pod.state.settings_error}",
            )
    if situation.unconfirmed:
        waiting = ", ".join(pod.name for pod in situation.unconfirmed[:5])
        said = f"{len(ready) - len(situation.unconfirmed)} of {len(ready)} ready pods"
        return Said("False", names.APPLYING, f"{said} run the settings; waiting for {waiting}")
    return Said("True", names.APPLIED, "every ready pod runs the settings of this spec")
