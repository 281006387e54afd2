"""``plan``: all decisions about one service, composed. No clock, no I/O, no memory.

What came before: the shell gathered the service and its objects.  What comes after: the shell
carries the plan out, in the order of its fields, and plans again when something changes or after
``again_in_seconds``.  A plan is a fixed point: once carried out and settled, it comes out the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import ValidationError

from batchfleet_operator import bypass, control, desired, guard, names, revisions, status
from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.bypass import Bypass
from batchfleet_operator.conditions import Said, conditions, transitions
from batchfleet_operator.config import Config
from batchfleet_operator.control import Control
from batchfleet_operator.decision import Event, Object, Observed, Plan, PodPatch, Ref
from batchfleet_operator.live import LiveSettings, settings
from batchfleet_operator.observed import Fleet, parse_time
from batchfleet_operator.revision import Revision
from batchfleet_operator.revisions import Choice
from batchfleet_operator.rollouts import judging, rollout
from batchfleet_operator.rollouts.rollout import Split
from batchfleet_operator.rollouts.stages import Orders
from batchfleet_operator.situation import Situation

FASTEST_LOOK_SECONDS = 1.0
SLOWEST_LOOK_SECONDS = 30.0
LOOK_SHARE = 0.25
"""Pods that have not confirmed their settings are asked again after a quarter of the time that
they have had, between the two bounds: at once when young, seldom when something is wrong."""


def plan(service: Object, observed: Observed, config: Config, now: datetime) -> Plan:
    """What to do for ``service`` now. ``now`` has a time zone."""
    before: Object = service.get("status", {})
    if "deletionTimestamp" in service["metadata"]:
        return Plan(status=before)  # its children go with it: making them again would race
    try:
        wanted = BatchInferenceService.of(service)
    except ValidationError as error:
        return _unreadable(service, before, error, now)

    fleet = Fleet.of(wanted.name, wanted.uid, observed)
    choice = revisions.choose(wanted, fleet, config, observed.verdict, before.get("revision"), now)
    automation = control.decide(wanted, service, fleet, choice, observed, config, now)
    orders = Orders(
        monitored=bool(config.monitoring.prometheus.url or wanted.spec.has_own_prometheus),
        watched=observed.watched,
        roll_back=automation.roll_back,
        pause=automation.pause_rollout,
    )
    last = rollout.remembered(before)
    split = rollout.split(wanted, fleet, choice, last, automation.total, now, orders)
    known = revisions.known(fleet)
    if choice.target is not None:
        known[choice.target.number] = choice.target
    age = judging.connection_age_seconds(wanted.spec, split.status)
    age = age if observed.pruned is None else None  # forgotten, it would come and go
    live = _live_settings(wanted, fleet, known, choice, automation, age)
    way = bypass.of(wanted, fleet, known)
    objects = _children(wanted, fleet, known, split, live, way, config, observed.kinds)
    conflicts = [key for key in map(_key, objects) if key in fleet.foreign]
    situation = Situation(
        wanted,
        fleet,
        choice,
        live,
        conflicts,
        observed.pruned,
        now,
        automation,
        split,
        bypass=way.said,
        guarded=config.network_policy.enabled,
    )
    after = status.of(situation, before)
    again = _again_in(situation, after)
    if wanted.spec.paused:
        return Plan(status=after, events=transitions(before, after), again_in_seconds=again)

    stable = status.stable_revision(situation)
    stored = _revisions(wanted, fleet, choice, stable, split)
    apply = [each for each in [*stored, *objects] if _key(each) not in fleet.foreign]
    return Plan(
        dry_run=choice.trial,
        apply=apply,
        ask_afresh=split.ask_afresh,
        patch=[*_refresh(fleet, live), *split.patches],
        delete=[*_leftovers(fleet, apply), *automation.restart],
        status=after,
        events=[
            *_cut(wanted, choice),
            *automation.events,
            *split.events,
            *transitions(before, after),
        ],
        again_in_seconds=again,
        demand=automation.as_demand(),
    )


def _key(thing: Object) -> tuple[str, str]:
    return thing["kind"], thing["metadata"]["name"]


def _live_settings(
    service: BatchInferenceService,
    fleet: Fleet,
    known: Mapping[int, Revision],
    choice: Choice,
    automation: Control,
    connection_age_seconds: int | None,
) -> dict[int, LiveSettings]:
    """Settings of every revision that has a Deployment or will have one."""
    target = None if choice.target is None else choice.target.number
    running = {n: each for n, each in known.items() if n in fleet.deployments or n == target}
    ready, age = len(fleet.ready), connection_age_seconds
    return {
        number: settings(service.spec, each.engine, ready, automation.automatic, age)
        for number, each in running.items()
    }


def _children(
    service: BatchInferenceService,
    fleet: Fleet,
    known: Mapping[int, Revision],
    split: Split,
    live: dict[int, LiveSettings],
    way: Bypass,
    config: Config,
    kinds: frozenset[str],
) -> list[Object]:
    """All children but the ControllerRevisions, in order of need."""
    optional = [desired.pod_monitor(service, config)] if names.POD_MONITOR.kind in kinds else []
    peers = guard.peers(service, fleet, known)
    policy = desired.network_policy(service, peers, config)
    guarded = [policy] if config.network_policy.enabled else []
    return [
        *(desired.live_settings(service, number, live[number]) for number in split.replicas),
        desired.service(service, way.target_port),
        desired.disruption_budget(service),
        *guarded,
        *(
            desired.deployment(service, number, known[number].template, count)
            for number, count in split.replicas.items()
        ),
        *optional,
    ]


def _revisions(
    service: BatchInferenceService, fleet: Fleet, choice: Choice, stable: int | None, split: Split
) -> list[Object]:
    """The ControllerRevisions that stay, and the one to cut; the one that failed, marked so."""
    stored = revisions.stored(fleet)
    data = {number: stored[number].data for number in revisions.kept(fleet, choice)}
    failures = {}
    if choice.failed is not None:
        failures[choice.failed] = fleet.failures[choice.failed]
    if split.failure is not None:
        failures[split.failure.revision] = split.failure.why
    if choice.new and choice.target is not None:
        data[choice.target.number] = choice.target.data
    return [
        desired.controller_revision(
            service,
            number,
            data[number],
            stable=number == stable,
            failure=failures.get(number),
            promoted=number == choice.promoted,
        )
        for number in sorted(data)
    ]


def _refresh(fleet: Fleet, live: dict[int, LiveSettings]) -> list[PodPatch]:
    """Pods whose sidecar runs other settings, and whose kubelet was not told to look again."""
    return [
        PodPatch(pod.ref, {names.ANNOTATION_LIVE_SETTINGS: live[pod.revision].hash})
        for pod in fleet.staying
        if pod.revision in live
        and pod.state is not None
        and live[pod.revision].hash not in (pod.state.settings_hash, pod.live_hash)
    ]


def _leftovers(fleet: Fleet, wanted: list[Object]) -> list[Ref]:
    """Children that are no longer wanted."""
    keep = {_key(each) for each in wanted}
    optional = {kind.kind for kind in names.OPTIONAL_KINDS}
    return [
        Ref(kind, name, each["metadata"].get("uid", ""))
        for (kind, name), each in fleet.owned.items()
        if (kind, name) not in keep
        and kind not in optional  # a cluster that stops telling of a kind does not mean its end
        and "deletionTimestamp" not in each["metadata"]
    ]


def _cut(service: BatchInferenceService, choice: Choice) -> list[Event]:
    if not choice.new or choice.target is None:
        return []
    name = names.revision_name(service.name, choice.target.number)
    images = ", ".join(choice.target.images.values())
    return [Event("Normal", "RevisionCut", f"revision {name} is cut, with images {images}")]


def _again_in(situation: Situation, after: Object) -> float | None:
    """Seconds until something may have changed that no watch tells of."""
    waits = [
        _settings_wait(situation, after),
        situation.control.again_in_seconds,
        situation.split.again_in_seconds,
    ]
    if situation.keyless:
        waits.append(SLOWEST_LOOK_SECONDS)
    if situation.choice.again is not None:
        waits.append(situation.choice.again.total_seconds())
    allowed = timedelta(seconds=situation.service.spec.rollout.progress_deadline_seconds)
    deadlines = [p.waiting_since + allowed for p in situation.current if not p.ready]
    waits += [(at - situation.now).total_seconds() for at in deadlines if at > situation.now]
    return min((wait for wait in waits if wait is not None), default=None)


def _settings_wait(situation: Situation, after: Object) -> float | None:
    """When to ask the sidecars again which settings they run; ``None``: all have said so."""
    if not situation.unconfirmed:
        return None
    told = {each["type"]: each for each in after["conditions"]}[names.SETTINGS_APPLIED]
    since = max(
        parse_time(told["lastTransitionTime"]),
        *(pod.waiting_since for pod in situation.unconfirmed),
    )
    had = (situation.now - since).total_seconds() * LOOK_SHARE
    return min(max(had, FASTEST_LOOK_SECONDS), SLOWEST_LOOK_SECONDS)


def _unreadable(service: Object, before: Object, error: ValidationError, now: datetime) -> Plan:
    """A spec of another version's CRD: nothing is changed, and the status says why."""
    wrong = "; ".join(
        f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()
    )
    said = Said(
        "False",
        names.INVALID_SPEC,
        f"this operator cannot read the spec, so it changes nothing: {wrong}; "
        "is the CRD newer than the operator?",
    )
    generation = service["metadata"].get("generation", 1)
    ready = conditions({names.READY: said}, before, generation, now)
    others = [each for each in before.get("conditions", []) if each["type"] != names.READY]
    after = {**before, "observedGeneration": generation, "conditions": [*ready, *others]}
    return Plan(status=after, events=transitions(before, after))
