"""What goes into the planner and what comes out of it: the words between core and shell.

``gather`` makes an :class:`Observed` of a service's objects as the API server prints them,
``plan`` turns it into a :class:`Plan`, ``carry out`` does that and nothing else.  All values are
plain data, so that ``batchfleet-operator plan`` and the story tests can read and print them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import yaml

from batchfleet_operator.metering.signals import Watched

Object = dict[str, Any]
"""A Kubernetes object as JSON; never changed in place."""


class Ref(NamedTuple):
    """One object of our service's namespace."""

    kind: str
    name: str
    uid: str = ""


@dataclass(frozen=True)
class WorkerState:
    """What one pod's sidecar said in ``/state``; a pod that did not answer has none."""

    settings_hash: str | None
    settings_error: str | None
    draining: bool
    in_flight: int
    access_error: str | None = None  # why it cannot tell callers apart as it should
    drained: int = 0  # of the requests that met a drain: answered to the end
    handed_back: int = 0  # refused before any work was done, to be sent to another pod
    aborted: int = 0  # cut off at the drain's end


@dataclass(frozen=True)
class Verdict:
    """What the API server said to the dry run of a revision that is not cut yet."""

    fingerprint: str  # of the Deployment that was tried: fingerprint(plan.dry_run)
    message: str | None  # the server's own words; None: accepted
    at: datetime | None = None  # when it was said; a refusal is asked for again after a while


@dataclass(frozen=True)
class Observed:
    """All facts about one service at one moment."""

    objects: Sequence[
        Object
    ] = ()  # of the child kinds and pods: with our label, or with a child's name
    workers: Mapping[str, WorkerState] = field(default_factory=dict)  # by pod UID
    afresh: bool = True  # every sidecar was asked just now, also those that are known
    kinds: frozenset[str] = frozenset()  # optional kinds that the cluster has: PodMonitor
    verdict: Verdict | None = None
    watched: Watched | None = None  # what Prometheus said; None: none is configured
    namespace: Mapping[str, str] = field(default_factory=dict)  # annotations of the namespace
    pruned: str | None = None  # what an older CRD dropped of our last status, e.g. "status.images"


@dataclass(frozen=True)
class PodPatch:
    """Annotations to merge into one pod, only if it still is the pod we saw."""

    pod: Ref
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class Event:
    type: str  # Normal | Warning
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What to do now, in this order: try, apply, patch, delete, status, events."""

    dry_run: Object | None = None  # try this first; then plan again with the verdict
    ask_afresh: bool = False  # ask all sidecars first, known ones too; then plan again
    apply: Sequence[Object] = ()  # everything we want, whole, in order of need
    patch: Sequence[PodPatch] = ()
    delete: Sequence[Ref] = ()  # only with the UID that was seen
    status: Object = field(default_factory=dict)
    events: Sequence[Event] = ()
    again_in_seconds: float | None = None  # look again without being woken
    demand: Mapping[str, float] = field(default_factory=dict)  # pods by bound, for metrics


def fingerprint(thing: Object) -> str:
    """First 16 hex digits of the SHA-256 of ``thing`` as canonical JSON."""
    return hashlib.sha256(_canonical(thing)).hexdigest()[:16]


def plan_as_yaml(plan: Plan) -> str:
    """The plan for people and for the story tests: what is empty is left out."""
    said = {name: each for name, each in asdict(plan).items() if each is not False}
    parts = {name: value for name, value in said.items() if value not in (None, (), [], {})}
    return yaml.dump(json.loads(_canonical(parts)), Dumper=_Dumper, sort_keys=False, width=100)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _canonical(thing: Any) -> bytes:
    return json.dumps(thing, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
