"""Typed views of what the API server printed: whose an object is, and how its pods are.

Comes first in ``plan``.  Everything that depends on the shape of a raw Deployment or Pod is here,
so that the rules after it read like sentences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from batchfleet_operator import names
from batchfleet_operator.decision import Object, Observed, Ref, WorkerState
from batchfleet_operator.problems import (
    Problem,
    Shortage,
    failed_starts,
    out_of_quota,
    pod_problem,
    refusal,
)

REPLICA_SET = re.compile(r"[0-9]+-[^-]+")
"""What follows the service's name in that of a ReplicaSet: the revision, and a hash."""

STORED_KINDS = frozenset(kind.kind for kind in (*names.CHILD_KINDS, *names.OPTIONAL_KINDS))


@dataclass(frozen=True)
class Pod:
    """One worker."""

    name: str
    uid: str
    revision: int
    ready: bool
    leaving: bool
    created: datetime
    waiting_since: datetime  # since when it is not ready (or exists, where it never was)
    live_hash: str | None  # what its annotation last made the kubelet refresh
    problem: Problem | None
    state: WorkerState | None  # what its sidecar says; None: no answer
    failed_starts: int = 0  # how often a container of it ended, or the pod as a whole
    marked: bool = False  # to go first, of too many

    @property
    def ref(self) -> Ref:
        return Ref(names.POD.kind, self.name, self.uid)


@dataclass(frozen=True)
class Fleet:
    """One service's objects, told apart."""

    service: str
    uid: str
    objects: Sequence[Object]
    pods: Sequence[Pod]
    afresh: bool = True  # their sidecars were asked just now

    @classmethod
    def of(cls, service: str, uid: str, observed: Observed) -> Fleet:
        """Sorts what was observed; pods that another service's Deployment made are not ours."""
        children = [each for each in observed.objects if each["kind"] in STORED_KINDS]
        ours = f"{service}-"
        pods = [
            _pod(each, observed)
            for each in observed.objects
            if each["kind"] == names.POD.kind
            and _label(each, names.LABEL_SERVICE) == service
            and (_label(each, names.LABEL_REVISION) or "").isdigit()
            and (maker := _controller(each).get("name", "")).startswith(ours)
            and REPLICA_SET.fullmatch(maker, len(ours))
        ]
        by_name = sorted(pods, key=lambda pod: pod.name)
        return cls(service, uid, children, by_name, observed.afresh)

    @cached_property
    def owned(self) -> dict[tuple[str, str], Object]:
        """Our children by kind and name; the ones on their way out included."""
        return {_key(each): each for each in self.objects if self._is_ours(each)}

    @cached_property
    def foreign(self) -> frozenset[tuple[str, str]]:
        """Kind and name of objects that somebody else has: never touched."""
        return frozenset(_key(each) for each in self.objects if not self._is_ours(each))

    def _is_ours(self, thing: Object) -> bool:
        return bool(self.uid) and _controller(thing).get("uid") == self.uid

    @cached_property
    def deployments(self) -> dict[int, Object]:
        """Our Deployments by revision."""
        return self._by_revision(names.DEPLOYMENT.kind)

    @cached_property
    def controller_revisions(self) -> dict[int, Object]:
        """Our ControllerRevisions by number."""
        return self._by_revision(names.CONTROLLER_REVISION.kind)

    @cached_property
    def stable(self) -> int | None:
        """The revision that is labelled as the last one that all replicas were ready with."""
        return max(self._labelled(names.LABEL_STABLE), default=None)

    @cached_property
    def promoted(self) -> int | None:
        """The revision for which somebody set the annotation that is still there."""
        return max(self._labelled(names.LABEL_PROMOTED), default=None)

    @cached_property
    def failures(self) -> dict[int, str]:
        """Revisions that were rolled back while the spec asked for them, with why."""
        found = {}
        for number in self._labelled(names.LABEL_FAILED):
            annotations = self.controller_revisions[number]["metadata"].get("annotations", {})
            found[number] = annotations.get(names.ANNOTATION_FAILURE, "it is labelled so")
        return found

    def _labelled(self, label: str) -> list[int]:
        revisions = self.controller_revisions.items()
        return [number for number, each in revisions if _label(each, label) is not None]

    def _by_revision(self, kind: str) -> dict[int, Object]:
        found = [each for (its_kind, _), each in self.owned.items() if its_kind == kind]
        numbered = {(_label(each, names.LABEL_REVISION) or ""): each for each in found}
        return {int(number): each for number, each in numbered.items() if number.isdigit()}

    def replicas_asked(self, revision: int) -> int:
        """What a revision's Deployment is told to run."""
        deployment = self.deployments.get(revision)
        return 0 if deployment is None else int(deployment.get("spec", {}).get("replicas", 1))

    def of_revision(self, revision: int) -> list[Pod]:
        """A revision's pods, the leaving ones included."""
        return [pod for pod in self.pods if pod.revision == revision]

    @cached_property
    def staying(self) -> list[Pod]:
        """Pods that are not on their way out."""
        return [pod for pod in self.pods if not pod.leaving]

    @cached_property
    def ready(self) -> list[Pod]:
        """Pods that take requests."""
        return [pod for pod in self.staying if pod.ready]

    def refusal(self, revision: int) -> Problem | None:
        """Why a revision's pods are not even created: quota, admission."""
        deployment = self.deployments.get(revision)
        return None if deployment is None else refusal(deployment)

    def shortage(self, revision: int) -> Shortage | None:
        """What keeps a revision's pods from being made or placed, and since when: no node has
        room for one, or a quota has none."""
        pods = [pod for pod in self.of_revision(revision) if not pod.leaving]
        for pod in pods:
            if pod.problem is not None and pod.problem.reason == names.UNSCHEDULABLE:
                return Shortage(pod.waiting_since, pod.problem.message)
        deployment = self.deployments.get(revision)
        if deployment is None or len(pods) >= self.replicas_asked(revision):
            return None
        return out_of_quota(deployment)


def parse_time(text: str) -> datetime:
    """RFC 3339 as the API server prints it."""
    return datetime.fromisoformat(text)


def _pod(raw: Object, observed: Observed) -> Pod:
    metadata = raw["metadata"]
    conditions = {each["type"]: each for each in raw.get("status", {}).get("conditions", [])}
    ready = conditions.get("Ready", {})
    since = ready.get("lastTransitionTime") or metadata["creationTimestamp"]
    uid = metadata.get("uid", "")
    annotations = metadata.get("annotations", {})
    return Pod(
        name=metadata["name"],
        uid=uid,
        revision=int(metadata["labels"][names.LABEL_REVISION]),
        ready=ready.get("status") == "True",
        leaving="deletionTimestamp" in metadata
        or raw.get("status", {}).get("phase") in ("Succeeded", "Failed"),
        created=parse_time(metadata["creationTimestamp"]),
        waiting_since=parse_time(since),
        live_hash=annotations.get(names.ANNOTATION_LIVE_SETTINGS),
        problem=pod_problem(raw),
        state=observed.workers.get(uid),
        failed_starts=failed_starts(raw),
        marked=str(annotations.get(names.ANNOTATION_DELETION_COST, "")).startswith("-"),
    )


def _key(thing: Object) -> tuple[str, str]:
    return thing["kind"], thing["metadata"]["name"]


def _label(thing: Object, label: str) -> str | None:
    value: str | None = thing["metadata"].get("labels", {}).get(label)
    return value


def _controller(thing: Object) -> dict[str, Any]:
    references = thing["metadata"].get("ownerReferences", [])
    return next((each for each in references if each.get("controller")), {})
