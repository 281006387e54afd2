"""Revisions: which one is wanted, when a new one is cut, which old ones are kept.

A ControllerRevision stores the inputs (the spec's fields that a pod depends on), what they were
resolved to (images, time to drain) and the pod template they were rendered to.  A new one is cut
only when the *inputs* differ, both read by today's models: never because today's code would render
them differently.  So upgrading the operator, its configuration or the CRD restarts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from batchfleet_operator import desired, names, pod
from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object, Verdict, fingerprint
from batchfleet_operator.observed import Fleet
from batchfleet_operator.problems import Problem
from batchfleet_operator.revision import Revision, inputs

HISTORY = 5
"""Revisions kept, so that going back to one of them uses it again, images included."""

PROMOTE = "promote"
"""What the annotation for rollouts says to have the revision asked for, whatever is said of it."""

RETRY_REFUSED = timedelta(minutes=5)
"""After this a refused revision is tried again: quotas and admission rules change."""


@dataclass(frozen=True)
class Choice:
    """Which revision the fleet shall run, and what stands in the way of the one asked for."""

    target: Revision | None  # run this; None: nothing can be run yet
    as_asked: bool  # the target is what the spec asks for
    new: bool = False  # the target is not stored yet
    trial: Object | None = None  # a Deployment to dry-run before a revision is cut
    problem: Problem | None = None
    again: timedelta | None = None  # when to look again
    failed: int | None = None  # the one asked for, where it was rolled back
    promoted: int | None = None  # the one that the annotation for rollouts is for


def stored(fleet: Fleet) -> dict[int, Revision]:
    """Our ControllerRevisions, by number."""
    return {
        number: Revision(number, raw["data"])
        for number, raw in sorted(fleet.controller_revisions.items())
    }


def known(fleet: Fleet) -> dict[int, Revision]:
    """The stored ones, and Deployments whose ControllerRevision somebody deleted."""
    orphans = {
        number: Revision(number, {"inputs": {}, "images": pod.images(made), "template": made})
        for number, raw in fleet.deployments.items()
        for made in [raw["spec"]["template"]]
    }
    return dict(sorted((orphans | stored(fleet)).items()))


def choose(
    service: BatchInferenceService,
    fleet: Fleet,
    config: Config,
    verdict: Verdict | None,
    last_wanted: str | None,
    now: datetime,
) -> Choice:
    """The revision to run: a stored one with equal inputs, else a new one that passed its trial;
    in place of one that was rolled back, the stable one.

    ``last_wanted`` is the name of the revision that the status speaks of: what goes on running
    while the one asked for is tried or refused.
    """
    choice = _choose(service, fleet, config, verdict, last_wanted, now)
    asked = choice.target.number if choice.target is not None and choice.as_asked else None
    return replace(choice, promoted=_promoted(service, fleet, asked))


def _promoted(service: BatchInferenceService, fleet: Fleet, asked: int | None) -> int | None:
    """The revision that the annotation for rollouts is for, whatever is said of it.

    Without a name in it: the one that was ``asked`` for when the annotation was first seen.  A
    label remembers that, so that a later one is judged though nobody took the annotation off.
    """
    word, *name = (service.rollout or "").split() or [""]
    if word != PROMOTE:
        return None
    if name:
        prefix, _, number = name[0].rpartition("-")
        return int(number) if prefix == service.name and number.isdecimal() else None
    return asked if fleet.promoted is None else fleet.promoted


def _choose(
    service: BatchInferenceService,
    fleet: Fleet,
    config: Config,
    verdict: Verdict | None,
    last_wanted: str | None,
    now: datetime,
) -> Choice:
    revisions = known(fleet)
    wanted = inputs(service.spec)
    equal = [
        revision
        for number, revision in revisions.items()
        if revision.serves(wanted, service.spec)
        and fleet.foreign.isdisjoint(_names_of(service.name, number))
    ]
    stable = fleet.stable
    promoted = _promoted(service, fleet, equal[-1].number if equal else None)
    fit = [e for e in equal if e.number == promoted or e.number not in fleet.failures]
    if fit:
        return Choice(fit[-1], as_asked=True)
    if equal and stable is not None and stable != equal[-1].number:
        return _rolled_back(service, fleet, equal[-1], revisions[stable])
    if equal:  # nothing to go back to
        return Choice(equal[-1], as_asked=True)

    running = _running(service.name, fleet, revisions, last_wanted)
    fresh = _render(service, _next_number(service.name, fleet), wanted, config)
    trial = desired.deployment(service, fresh.number, fresh.template, replicas=0)
    if verdict is None or verdict.fingerprint != fingerprint(trial):
        return Choice(running, as_asked=False, trial=trial)
    if verdict.message is None:
        return Choice(fresh, as_asked=True, new=True)

    waited = timedelta() if verdict.at is None else now - verdict.at
    if waited >= RETRY_REFUSED:
        return Choice(running, as_asked=False, trial=trial)
    said = f"the API server refuses the pod that this spec makes: {verdict.message}"
    kept = "" if running is None else f" (still running {_name(service.name, running.number)})"
    return Choice(
        running,
        as_asked=False,
        problem=Problem(names.INVALID_POD_TEMPLATE, said + kept),
        again=RETRY_REFUSED - waited,
    )


def _rolled_back(
    service: BatchInferenceService, fleet: Fleet, failed: Revision, stable: Revision
) -> Choice:
    """The stable revision, in place of one that failed while the spec was as it is now."""
    why = fleet.failures[failed.number]
    name = _name(service.name, failed.number)
    said = (
        f"{name} is rolled back to {_name(service.name, stable.number)}: {why}; change the spec, "
        f"or restart.id to try the same again, or set the annotation {names.ANNOTATION_ROLLOUT}: "
        f"{PROMOTE} {name} to have it anyway"
    )
    problem = Problem(names.ROLLED_BACK, said)
    return Choice(stable, as_asked=False, problem=problem, failed=failed.number)


def kept(fleet: Fleet, choice: Choice) -> set[int]:
    """Numbers of the stored revisions that stay: in use, stable, or among the newest."""
    numbers = fleet.controller_revisions.keys()
    used = {number for number in numbers if number in fleet.deployments or number == fleet.stable}
    used |= {each.revision for each in fleet.pods} & numbers
    if choice.target is not None:
        used |= {choice.target.number} & numbers
    if choice.failed is not None:
        used |= {choice.failed}  # or it would be cut anew, and fail anew
    if choice.promoted is not None:
        used |= {choice.promoted} & numbers  # or the annotation would count for another
    spare = sorted(numbers - used, reverse=True)
    return used | set(spare[: max(HISTORY - len(used), 0)])


def _render(
    service: BatchInferenceService, number: int, wanted: Object, config: Config
) -> Revision:
    template = pod.template(service.name, number, service.spec, config)
    images = pod.images(template)
    data = {
        "inputs": wanted,
        "images": images,
        "drainSeconds": service.spec.drain_seconds,
        "template": template,
    }
    return Revision(number, data)


def _next_number(service: str, fleet: Fleet) -> int:
    """Above every number in use; a name that somebody else holds is passed over."""
    taken = {*fleet.controller_revisions, *fleet.deployments, *(p.revision for p in fleet.pods)}
    number = max(taken, default=0) + 1
    while not fleet.foreign.isdisjoint(_names_of(service, number)):
        number += 1
    return number


def _names_of(service: str, number: int) -> set[tuple[str, str]]:
    name = _name(service, number)
    return {
        (names.CONTROLLER_REVISION.kind, name),
        (names.DEPLOYMENT.kind, name),
        (names.CONFIG_MAP.kind, names.live_settings_name(service, number)),
    }


def _running(
    service: str, fleet: Fleet, revisions: Mapping[int, Revision], last_wanted: str | None
) -> Revision | None:
    """What to go on with: the last one wanted, else the stable one, else the newest deployed."""
    by_name = {_name(service, number): revision for number, revision in revisions.items()}
    last = by_name.get(last_wanted or "")
    if last is not None and last.number not in fleet.failures:
        return last
    stable = [each for number, each in revisions.items() if number == fleet.stable]
    deployed = [each for number, each in revisions.items() if number in fleet.deployments]
    return next(reversed(stable or deployed), None)


def _name(service: str, number: int) -> str:
    return names.revision_name(service, number)
