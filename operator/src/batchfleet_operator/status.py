"""What the operator tells: conditions, counts, limits in force, and events on transitions.

Comes last in ``plan``, after everything is decided, and decides nothing.  Each condition is one
small function from a :class:`Situation`; ``Ready`` repeats the first of all reasons that something
is not as specified.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from batchfleet_operator import names
from batchfleet_operator.conditions import Said, conditions, time
from batchfleet_operator.decision import Object
from batchfleet_operator.live import LiveSettings
from batchfleet_operator.situation import Situation


def of(situation: Situation, before: Object) -> Object:
    """The whole status. ``before`` is the one that is stored: times in it stay where they can."""
    service, target = situation.service, situation.choice.target
    asked = {} if situation.bypass is None else {names.BYPASSED: situation.bypass}
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
                **situation.control.said,
                **asked,
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
    if situation.split.status is not None:
        status["rollout"] = situation.split.status.as_json()
    return status | situation.control.as_status()


def stable_revision(situation: Situation) -> int | None:
    """The target once it is complete; until then the one that is labelled so.

    Where the target fails, even a complete one, the one that it goes back to.
    """
    if situation.split.failure is not None:
        return situation.split.failure.back_to
    is_whole = situation.complete and situation.total > 0 and not situation.is_watched
    if situation.choice.target is not None and is_whole:
        return situation.choice.target.number
    return situation.fleet.stable


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
    for rule in READY_RULES:
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


def _rollout_goes_on(situation: Situation) -> Said | None:
    rollout = situation.split.status
    if rollout is None or rollout.state not in ("Held", "Paused"):
        return None
    trouble = situation.trouble if rollout.state == "Paused" else None
    reason = names.ROLLOUT_PAUSED if trouble is None else trouble.reason
    return Said("False", reason, f"rollout of {rollout.revision}: {rollout.message}")


def _pods_serve(situation: Situation) -> Said | None:
    if situation.choice.as_asked and situation.complete and not situation.is_watched:
        return None
    trouble = situation.trouble
    if trouble is not None:
        return Said("False", trouble.reason, trouble.message)
    return _late(situation) or Said("False", names.ROLLING_OUT, _progress(situation))


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


def _progress(situation: Situation) -> str:
    rollout = situation.split.status
    judged = rollout is not None and rollout.state == "Judging"
    said = _count(situation)
    return f"{said}; {rollout.message}" if rollout is not None and judged else said


def _header_is_guarded(situation: Situation) -> Said | None:
    header = situation.service.spec.access.trusted_header
    if header is None or situation.guarded:
        return None
    return Said(
        "False",
        names.HEADER_UNGUARDED,
        f"anybody who reaches the pods can write the header {header.name}: the operator makes no "
        "NetworkPolicies here (networkPolicy.enabled in the chart); switch them on",
    )


def _keys_are_known(situation: Situation) -> Said | None:
    if not situation.keyless:
        return None
    pod, error = situation.keyless[0]
    keys = situation.service.spec.access.api_keys
    secret = "" if keys is None else f"look at the Secret {keys.secret_name}; "
    return Said("False", names.API_KEYS_UNUSABLE, f"{secret}pod {pod} says: {error}")


READY_RULES = (
    _crd_is_current,
    _names_are_free,
    _spec_is_accepted,
    _not_held_back,
    _rollout_goes_on,
    _pods_serve,
    _header_is_guarded,
    _keys_are_known,
)
"""In the order in which somebody should mend what they name."""


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
    if situation.choice.as_asked and situation.complete and not situation.is_watched:
        return Said("True", names.ROLLED_OUT, _count(situation))
    held = _rollout_goes_on(situation)
    if held is not None:
        return replace(held, status="Unknown")
    return _late(situation) or Said("True", names.ROLLING_OUT, _progress(situation))


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
