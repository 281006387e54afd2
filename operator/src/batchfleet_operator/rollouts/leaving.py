"""How pods leave: the least loaded ones first, and with an account of the requests they had.

``shrink`` stands between the split and the Deployment: of too many pods a ReplicaSet removes those
with the lowest deletion cost, so the pods that shall go are marked first, and only when the marks
are seen on them is the Deployment told a smaller number.  Nothing is marked on a quiet fleet, nor
where the choice is none: when all pods go, or enough of them are not ready anyway.

``departed`` keeps what a leaving pod's sidecar said last, and makes the account when it is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from batchfleet_operator import names
from batchfleet_operator.decision import Event, Object, PodPatch, WorkerState
from batchfleet_operator.observed import Pod

FIRST = "-1"
"""Cost of the pods that go: below the 0 of all others, which so need no patch."""
UNMARKED = "0"

LOOK_SECONDS = 1.0
"""Between two looks at pods that leave: a sidecar answers until its engine is gone, which takes
longer than this after the last request."""

DRAINED_EVENT = "PodDrained"


@dataclass(frozen=True)
class Shrink:
    """What a Deployment is told now, and what comes before it is told less."""

    replicas: int
    patches: Sequence[PodPatch] = ()
    ask_afresh: bool = False


def shrink(pods: Sequence[Pod], asked: int, wanted: int, *, afresh: bool) -> Shrink:
    """``pods``: the staying ones of one Deployment, which is told ``asked`` and shall run
    ``wanted``.  ``afresh``: their sidecars were asked how loaded they are just now."""
    if wanted >= asked:
        settled = len(pods) <= wanted
        marked = [pod for pod in pods if pod.marked] if settled else []
        return Shrink(wanted, [_mark(pod, UNMARKED) for pod in marked])
    ready = [pod for pod in pods if pod.ready]
    going = len(pods) - wanted - (len(pods) - len(ready))  # unready ones go before any other
    marked = [pod for pod in ready if pod.marked]
    missing = going - len(marked)
    if going >= len(ready) or missing <= 0:
        return Shrink(wanted)
    if not afresh:
        return Shrink(asked, ask_afresh=True)
    if all(pod.state is None for pod in ready):
        return Shrink(wanted)  # nobody says how loaded they are: any will do
    others = sorted((pod for pod in ready if not pod.marked), key=_load)
    return Shrink(asked, [_mark(pod, FIRST) for pod in others[:missing]])


def _load(pod: Pod) -> tuple[bool, int, str]:
    """Least loaded first; pods that do not say come last."""
    return (pod.state is None, pod.state.in_flight if pod.state else 0, pod.name)


def _mark(pod: Pod, cost: str) -> PodPatch:
    return PodPatch(pod.ref, {names.ANNOTATION_DELETION_COST: cost})


@dataclass(frozen=True)
class Departure:
    """A pod that is gone, and what became of the requests that its drain met."""

    pod: str
    drained: int
    handed_back: int
    aborted: int

    @property
    def event(self) -> Event | None:
        """``None`` where the drain met no request."""
        if not (self.drained or self.handed_back or self.aborted):
            return None
        said = (
            f"pod {self.pod} has left: {self.drained} requests were answered to the end, "
            f"{self.handed_back} handed back before any work was done, {self.aborted} cut off"
        )
        return Event("Warning" if self.aborted else "Normal", DRAINED_EVENT, said)


@dataclass(frozen=True)
class Last:
    """A leaving pod, with what its sidecar said last."""

    pod: str
    state: WorkerState | None


def departed(
    before: Mapping[str, Last], pods: Iterable[Object], states: Mapping[str, WorkerState]
) -> tuple[dict[str, Last], list[Departure]]:
    """The pods that are leaving now, by UID, and those that have left since ``before``.

    A pod whose sidecar never answered has no account: nobody knows.
    """
    now = {pod["metadata"]["uid"]: pod["metadata"] for pod in pods}
    leaving = {}
    for uid, metadata in now.items():
        if "deletionTimestamp" in metadata:
            known = before[uid].state if uid in before else None
            leaving[uid] = Last(metadata["name"], states.get(uid, known))
    gone = [
        Departure(each.pod, each.state.drained, each.state.handed_back, each.state.aborted)
        for uid, each in before.items()
        if uid not in now and each.state is not None
    ]
    return leaving, gone
