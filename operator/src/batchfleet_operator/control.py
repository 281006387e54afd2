"""The automation of one service, composed: how many pods, which live limit, what is done now.

Comes after the revision is chosen and before the total is split and the live settings are written.
Everything that it remembers is the status that came in; everything that it decides goes into the
status that comes out.  An action is decided in one look and done in a later one, which finds its
intent in the stored status: after a crash it is finished, or found done, and never repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from batchfleet_operator import byhand, names, profiles
from batchfleet_operator.api.alerts import AlertAction
from batchfleet_operator.api.autoscaling import Autoscaling
from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.api.status import (
    Automatic,
    Effective,
    Intent,
    Past,
    RolloutStatus,
    RuleState,
    Scaling,
)
from batchfleet_operator.conditions import Said, time
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Event, Object, Observed, Ref
from batchfleet_operator.live import Limits
from batchfleet_operator.metering.presence import metrics_available
from batchfleet_operator.observed import Fleet, parse_time
from batchfleet_operator.remediation import alerts
from batchfleet_operator.remediation.case import Case, PodFact
from batchfleet_operator.revisions import Choice
from batchfleet_operator.rollouts import rollout
from batchfleet_operator.scaling import autoscale
from batchfleet_operator.scaling.demand import Demand
from batchfleet_operator.scaling.outside import outside_writer
from batchfleet_operator.view import View, memory

OUTSIDER = (
    "{} has written spec.replicas, which is only where the fleet starts while autoscaling is set: "
    "leave one of the two out"
)
STALE_SECONDS, STALE_TICKS = 60.0, 3
"""A reading that is older says nothing of now."""


@dataclass(frozen=True)
class Control:
    """What the automation wants now, and what the status is to say of it."""

    total: int
    automatic: Automatic | None = None
    scaling: Scaling | None = None
    demand: Demand | None = None
    intents: Sequence[Intent] = ()
    history: Sequence[Past] = ()
    rules: Sequence[RuleState] = ()
    restart: Sequence[Ref] = ()  # pods to delete
    roll_back: str | None = None  # why
    pause_rollout: str | None = None  # why
    floor: tuple[int, datetime] | None = None  # least pods that an action asks for, until when
    said: Mapping[str, Said] = field(default_factory=dict)
    events: Sequence[Event] = ()
    again_in_seconds: float | None = None

    def as_status(self) -> Object:
        """The fields of the status that are its own; empty ones are left out."""
        parts: Object = {
            "scaling": None if self.scaling is None else self.scaling.as_json(),
            "automatic": None if self.automatic is None else self.automatic.as_json(),
            "intents": [each.as_json() for each in self.intents],
            "history": [each.as_json() for each in self.history],
            "rules": [each.as_json() for each in self.rules],
        }
        return {name: value for name, value in parts.items() if value}

    def as_demand(self) -> dict[str, float]:
        """Pods by bound, for metrics."""
        if self.demand is None:
            return {}
        bounds = {
            "rate": self.demand.n_rate,
            "slots": self.demand.n_slot,
            "memory": self.demand.n_kv,
        }
        return {name: float(count) for name, count in bounds.items() if count is not None}


def is_automatic(service: Object) -> bool:
    """Whether a raw service asks for any automation."""
    spec = service.get("spec", {})
    return bool(spec.get("autoscaling") or spec.get("alertActions"))


def decide(
    service: BatchInferenceService,
    raw: Object,
    fleet: Fleet,
    choice: Choice,
    observed: Observed,
    config: Config,
    now: datetime,
) -> Control:
    """What the automation of ``service`` wants; without any, what the spec says."""
    if not is_automatic(raw):
        return Control(total=service.spec.replicas)
    before = memory(raw.get("status", {}))
    view = View(service, fleet, choice, observed, before, config, now)
    said = {names.METRICS_AVAILABLE: metrics_available(service, observed.watched, now)}
    done = Control(total=service.spec.replicas, history=before.history or (), said=said)
    if service.spec.alert_actions:
        done = _with_judgement(done, view, service.spec.alert_actions)
    if service.spec.autoscaling is not None:
        done = _with_scaling(done, view, service.spec.autoscaling, outside_writer(raw))
    return done


def _with_judgement(done: Control, view: View, actions: Sequence[AlertAction]) -> Control:
    """What the rules come to."""
    judgement = alerts.judge(actions, _case(view))
    return replace(
        done,
        automatic=judgement.automatic,
        intents=judgement.intents,
        history=judgement.history,
        rules=judgement.rules,
        restart=() if judgement.restart is None else (judgement.restart,),
        roll_back=judgement.roll_back,
        pause_rollout=judgement.pause_rollout,
        floor=judgement.floor,
        said={**done.said, names.REMEDIATION_ACTIVE: judgement.condition},
        events=[*done.events, *judgement.events],
        again_in_seconds=judgement.again_in_seconds,
    )


def _case(view: View) -> Case:
    """What the guards may look at."""
    spec, before, fleet = view.service.spec, view.before, view.fleet
    target, watched, own = view.choice.target, view.watched, view.own_limits
    automatic = before.automatic
    in_force = None if automatic is None else automatic.max_batch_size
    own_limit = None if own is None else own.max_batch_size
    rolled = before.rollout
    tick = view.config.monitoring.prometheus.tick_seconds
    way_back = None if target is None else rollout.way_back(fleet, target.number, rolled)
    return Case(
        now=view.now,
        watched_since=watched.since if watched else None,
        readings=watched.readings if watched else {},
        signals=watched.latest if watched else None,
        stale_after_seconds=max(STALE_SECONDS, STALE_TICKS * tick),
        remediation=spec.remediation,
        allowed=view.config.monitoring.prometheus.allow_queries,
        paused=view.paused is not None,
        why_paused=view.paused or "",
        remembers=view.observed.pruned is None,
        intents=before.intents or (),
        history=before.history or (),
        rules=before.rules or (),
        automatic=automatic,
        batch_size=own_limit if in_force is None else in_force,
        spec_batch_size=spec.batching.max_batch_size,
        edited=_is_edited(before.effective, own),
        own_batch_size=own_limit,
        max_num_seqs=None if own is None else own.max_num_seqs,
        queue_length=profiles.of(spec).max_queue_length,
        pods=[PodFact(p.name, p.uid, p.ready, p.created) for p in fleet.staying],
        asked=view.asked,
        max_replicas=spec.autoscaling.max_replicas if spec.autoscaling else None,
        rolling=view.rolling,
        rollout_began=_began(before.rollout),
        rollout_moved=_moved(before.rollout),
        can_roll_back=way_back is not None,
        lead_seconds=view.lead_seconds,
    )


def _is_edited(before: Effective | None, own: Limits | None) -> bool:
    """Whether somebody has changed the limit of the spec since the last look, for this engine."""
    if before is None or own is None or before.source == "AlertAction":
        return False
    same_engine = before.max_num_seqs == own.max_num_seqs
    return same_engine and before.max_batch_size != own.max_batch_size


def _began(rollout: RolloutStatus | None) -> datetime | None:
    """When the rollout began whose pods are there; one that was taken back is none."""
    if rollout is None or rollout.state == "RolledBack":
        return None
    return parse_time(rollout.began)


def _moved(rollout: RolloutStatus | None) -> datetime | None:
    """Since when it is at a step where it waits for somebody, or done."""
    if rollout is None or rollout.state not in ("Held", "Paused", "Done"):
        return None
    return parse_time(rollout.since)


def _with_scaling(done: Control, view: View, policy: Autoscaling, outsider: str | None) -> Control:
    """The size; somebody's own number of pods is respected for a while.

    ``outsider``: who wrote ``spec.replicas``, which moves nothing here.
    """
    fleet, target, watched = view.fleet, view.choice.target, view.watched
    refusal = None if target is None else fleet.refusal(target.number)
    limit = done.automatic.max_batch_size if done.automatic else None
    if limit is None and view.own_limits is not None:
        limit = view.own_limits.max_batch_size
    hand, before = view.by_hand, view.before.scaling
    if hand is not None and before is not None:
        before = before.model_copy(update={"desired_replicas": hand.replicas})
    if done.floor is not None and before is not None:
        least, until = done.floor
        before = before.model_copy(update={"floor_replicas": least, "floor_until": time(until)})
    ready = len(fleet.ready)
    capacity = autoscale.Capacity(
        asked=view.asked,
        ready=ready,
        pending=max(view.asked - ready, 0),
        batch_size=limit,
        rolling=view.rolling,
        acting=bool(done.intents),
        starts=[
            autoscale.Start(pod.created, pod.waiting_since if pod.ready else None)
            for pod in fleet.staying
        ],
        refused=None if refusal is None else refusal.message,
        paused=view.paused or (None if hand is None else _held(hand)),
    )
    decision = autoscale.decide(
        policy,
        watched.signals if watched else (),
        capacity,
        before,
        view.service.spec.replicas,
        watched.since if watched else None,
        view.now,
    )
    events = [*done.events, *decision.events]
    told = view.before.scaling
    if hand is not None and (told is None or told.message != _held(hand)):
        events.append(Event("Normal", "HeldByHand", _held(hand)))
    said = decision.condition
    if outsider is not None:
        said = replace(said, message=f"{said.message}; {OUTSIDER.format(outsider)}")
    return replace(
        done,
        total=decision.replicas,
        scaling=decision.scaling,
        demand=decision.demand,
        said={**done.said, names.SCALING_ACTIVE: said},
        events=events,
    )


def _held(hand: byhand.Edit) -> str:
    return (
        f"{hand.manager} has set {hand.replicas} replicas on the Deployment itself, which holds "
        f"until {time(hand.until)}: change autoscaling.minReplicas or maxReplicas instead"
    )
