"""What we remember of one service between looks.  Losing it costs API calls, nothing else.

It answers the two questions that keep an idle fleet free of calls: would applying this change
anything, and does the status already say this?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from batchfleet_operator.decision import Object, Ref, Verdict
from batchfleet_operator.rollouts.leaving import Last

Mark = tuple[object, ...]


@dataclass
class Memory:
    """Of the service with this UID; a namesake made later starts with an empty one."""

    uid: str
    verdict: Verdict | None = None
    taken: dict[Ref, Object] = field(default_factory=dict)  # names of children that others hold
    pods: frozenset[str] = frozenset()  # UIDs at the last look
    leaving: Mapping[str, Last] = field(default_factory=dict)  # pods on their way out, by UID
    namespace: Mapping[str, str] = field(default_factory=dict)  # its annotations, when last asked
    shown: tuple[Object, Mapping[str, float]] | None = None  # as metrics: status and demand
    ends: bool = False  # its namespace is being deleted: nothing is done any more
    _applied: dict[Ref, tuple[Mark, Object]] = field(default_factory=dict)
    _status: tuple[Object, Object] | None = None  # what we wrote, where the server kept less

    def applied(self, wanted: Object, live: Object) -> None:
        """Note that ``wanted`` was applied, and what it made of the object."""
        self._applied[ref(wanted)] = (_mark(live), wanted)

    def settled(self, wanted: Object, live: Object | None) -> bool:
        """Whether applying ``wanted`` would, as far as we know, change nothing."""
        return live is not None and self._applied.get(ref(wanted)) == (_mark(live), wanted)

    def status_written(self, wanted: Object, kept: Object) -> None:
        self._status = None if wanted == kept else (wanted, kept)

    def status_is(self, wanted: Object, said: Object) -> bool:
        """Whether the service says what we want it to, or all of it that its CRD can hold."""
        return said == wanted or self._status == (wanted, said)

    def pruned(self) -> str | None:
        """The first field of our last status that the server did not keep: its CRD is older."""
        return _missing(*self._status, "status") if self._status else None


def ref(object_: Object) -> Ref:
    """Kind and name: how a child is called, whoever holds the name."""
    return Ref(object_["kind"], object_["metadata"]["name"])


def controller_uid(object_: Object) -> str | None:
    """UID of the object that owns this one as its controller."""
    for owner in object_["metadata"].get("ownerReferences", ()):
        if owner.get("controller"):
            return str(owner["uid"])
    return None


def _mark(live: Object) -> Mark:
    """What of an object changes when somebody changes it, and not when its status does.

    Kinds that count generations do not count labels and owners; the others have little status.
    """
    metadata = live["metadata"]
    if "generation" not in metadata:
        return metadata["uid"], metadata["resourceVersion"]
    return tuple(
        metadata.get(field) for field in ("uid", "generation", "labels", "ownerReferences")
    )


def _missing(wanted: object, kept: object, path: str) -> str | None:
    """Path of the first thing in ``wanted`` that ``kept`` lacks; lists count by their entries."""
    if isinstance(wanted, dict):
        if not isinstance(kept, dict):
            return path
        pairs = [(f"{path}.{name}", value, kept.get(name)) for name, value in wanted.items()]
    elif isinstance(wanted, list):
        if not isinstance(kept, list) or len(kept) != len(wanted):
            return path
        pairs = [(path, value, left) for value, left in zip(wanted, kept, strict=True)]
    else:
        return None if wanted == kept else path
    found = (_missing(value, left, where) for where, value, left in pairs)
    return next((where for where in found if where), None)
