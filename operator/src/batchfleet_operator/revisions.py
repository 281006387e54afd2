"""Revisions: which one is wanted, when a new one is cut, which old ones are kept.

A ControllerRevision stores the inputs (the spec's fields that a pod depends on), what they were
resolved to (images, time to drain) and the pod template they were rendered to.  A new one is cut
only when the *inputs* differ, both read by today's models: never because today's code would render
them differently.  So upgrading the operator, its configuration or the CRD restarts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from batchfleet_operator import desired, engine, names, pod
from batchfleet_operator.api import GPU, Engine
from batchfleet_operator.api.access import Access
from batchfleet_operator.api.rollout import Restart
from batchfleet_operator.api.schema import Model
from batchfleet_operator.api.service import BatchInferenceService, Drain, PodTemplate, Spec
from batchfleet_operator.api.worker import Worker
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object, Verdict, fingerprint
from batchfleet_operator.observed import Fleet
from batchfleet_operator.problems import Problem

HISTORY = 5
"""Revisions kept, so that going back to one of them uses it again, images included."""

PROMOTE = "promote"
"""What the annotation for rollouts says to have the revision asked for, whatever is said of it."""

RETRY_REFUSED = timedelta(minutes=5)
"""After this a refused revision is tried again: quotas and admission rules change."""


class Inputs(Model):
    """What a pod depends on. Every other field of the spec is live, or not about pods."""

    engine: Engine
    gpu: GPU | None = None
    worker: Worker | None = None
    access: Access | None = None  # only what pods depend on: Access.of_pods
    pod_template: PodTemplate | None = None
    drain: Drain | None = None
    restart: Restart | None = None

    def normal(self) -> Object:
        """As stored and compared: unset and empty parts are left out."""
        return {name: value for name, value in self.as_json().items() if value != {}}


@dataclass(frozen=True)
class Revision:
    """A stored or about to be stored revision."""

    number: int
    data: Object  # {inputs, images, drainSeconds, template}

    @property
    def template(self) -> Object:
        template: Object = self.data["template"]
        return template

    @property
    def images(self) -> Mapping[str, str]:
        images: Mapping[str, str] = self.data["images"]
        return images

    def serves(self, wanted: Object, spec: Spec) -> bool:
        """Whether pods of this revision are what ``spec`` asks for.

        Where the spec leaves the time to drain open, any that covers the longest request will do:
        shortening ``requests.timeoutSeconds`` stays a live change.
        """
        covered = spec.requests.timeout_seconds <= self.data.get("drainSeconds", 0)
        return _normal(self.data["inputs"]) == wanted and (covered or "drain" in wanted)

    @property
    def engine(self) -> Engine | None:
        """The engine as its pods run it; ``None`` where another version's models wrote it."""
        inputs = self._inputs
        return None if inputs is None else inputs.engine

    @property
    def bypass_port(self) -> int | None:
        """Where its engines listen to clients; ``None``: only to their sidecars."""
        inputs = self._inputs
        if inputs is None or inputs.worker is None or inputs.worker.bypass != "Allowed":
            return None
        return engine.port(inputs.engine)

    @property
    def trusts_header(self) -> bool:
        """Whether its pods believe a header, whoever sends it."""
        inputs = self._inputs
        return (
            inputs is not None
            and inputs.access is not None
            and inputs.access.type == "TrustedHeader"
        )

    @property
    def _inputs(self) -> Inputs | None:
        try:
            return Inputs.parse(self.data["inputs"])
        except ValidationError:
            return None


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


def inputs(spec: Spec) -> Object:
    """The part of ``spec`` that a revision is cut from."""
    return Inputs(
        engine=spec.engine,
        gpu=spec.gpu,
        worker=spec.worker,
        access=spec.access.of_pods,
        pod_template=spec.pod_template,
        drain=spec.drain,
        restart=spec.restart,
    ).normal()


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
    revisions = known(fleet)
    wanted = inputs(service.spec)
    equal = [
        revision
        for number, revision in revisions.items()
        if revision.serves(wanted, service.spec)
        and fleet.foreign.isdisjoint(_names_of(service.name, number))
    ]
    stable = fleet.stable
    promoted = service.rollout == PROMOTE
    fit = [each for each in equal if promoted or each.number not in fleet.failures]
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
    said = (
        f"{_name(service.name, failed.number)} is rolled back to "
        f"{_name(service.name, stable.number)}: {why}; change the spec, or restart.id to try the "
        f"same again, or set the annotation {names.ANNOTATION_ROLLOUT}: {PROMOTE} to have it anyway"
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
    spare = sorted(numbers - used, reverse=True)
    return used | set(spare[: max(HISTORY - len(used), 0)])


def _normal(raw: Object) -> Object:
    """Stored inputs as today's models read them; untouched where they cannot."""
    try:
        return Inputs.parse(raw).normal()
    except ValidationError:
        return raw


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
