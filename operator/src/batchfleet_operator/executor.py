"""Carries a plan out, and knows what of it is done already.

Each write is for exactly the object that was planned for: applies, patches and deletes carry the
UID we saw, or that the name must be free: server-side apply as such takes over whatever holds it.
An object that our service's UID does not control is never written to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from batchfleet_operator import names
from batchfleet_operator.cluster import Cluster
from batchfleet_operator.decision import Event, Object, Plan, PodPatch, Ref, Verdict, fingerprint
from batchfleet_operator.errors import (
    ConflictError,
    EndingError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from batchfleet_operator.memory import Memory, controller_uid, ref
from batchfleet_operator.store import Store

APPLY_REFUSED = "ApplyRefused"
OPTIONAL = frozenset(kind.kind for kind in names.OPTIONAL_KINDS)


class Executor:
    """Writes for one service.  ``now`` is UTC."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        memory: Memory,
        namespace: str,
        now: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._memory = memory
        self._namespace = namespace
        self._now = now
        self.unserved: set[str] = set()
        """Kinds that the cluster may lack, and did when we applied them."""

    def is_done(self, planned: Plan, service: Object) -> bool:
        """Whether carrying the plan out would change nothing, as far as we know."""
        return not (
            planned.dry_run
            or planned.patch
            or planned.events
            or any(not self._memory.settled(w, self._live(ref(w))) for w in planned.apply)
            or any(self._is_there(gone) for gone in planned.delete)
            or not self._memory.status_is(planned.status, service.get("status", {}))
        )

    async def dry_run(self, candidate: Object) -> Verdict:
        """What the server says to a Deployment that it is not to keep."""
        message = None
        try:
            await self._cluster.apply(candidate, dry_run=True)
        except EndingError:
            raise  # it says nothing of the candidate
        except (InvalidError, ForbiddenError) as error:
            message = str(error)
        return Verdict(fingerprint(candidate), message, self._now())

    async def apply(self, objects: Sequence[Object]) -> list[Event]:
        """Apply what is not settled, in the given order; what was refused, as events.

        Names that somebody else holds are left alone and noted in ``memory.taken``.
        """
        refusals = []
        for wanted in objects:
            live = self._live(ref(wanted))
            if self._memory.settled(wanted, live):
                continue
            try:
                await self._apply(wanted, live)
            except EndingError:
                raise  # so is the service
            except NotFoundError:
                if wanted["kind"] not in OPTIONAL:
                    raise
                self.unserved.add(wanted["kind"])
            except (InvalidError, ForbiddenError) as error:
                what = f"{wanted['kind']} {wanted['metadata']['name']}"
                refusals.append(Event("Warning", APPLY_REFUSED, f"{what}: {error}"))
        return refusals

    async def _apply(self, wanted: Object, live: Object | None) -> None:
        """Apply to the object that the store knows, or make it; a stranger's is left alone."""
        name = ref(wanted)
        if live is None:
            try:
                self._note(wanted, await self._cluster.apply(wanted))
                return
            except ConflictError:
                live = await self.look_up(name)  # not free, though nothing with our label has it
                if live is None:
                    raise  # by now it is
        if controller_uid(live) != self._memory.uid:
            return  # the plan is told of it, and says so in a condition
        try:
            uid = live["metadata"]["uid"]
            self._note(wanted, await self._cluster.apply(wanted, uid=uid))
        except ConflictError:
            if await self.look_up(name) is None:
                self._store.remove(live)  # it is gone, and nobody told us: its kind is not watched
            raise

    def _note(self, wanted: Object, live: Object) -> None:
        self._store.put(live)
        self._memory.applied(wanted, live)

    async def look_up(self, name: Ref) -> Object | None:
        """Who holds a name of which the store knows nothing; a stranger is remembered."""
        self._memory.taken.pop(name, None)
        try:
            live = await self._cluster.get(name.kind, self._namespace, name.name)
        except NotFoundError:
            return None
        if controller_uid(live) != self._memory.uid:
            self._memory.taken[name] = live
        return live

    async def patch(self, patches: Sequence[PodPatch]) -> None:
        for patch in patches:
            change = {"metadata": {"uid": patch.pod.uid, "annotations": dict(patch.annotations)}}
            try:
                answer = await self._cluster.patch(
                    patch.pod.kind, self._namespace, patch.pod.name, change
                )
            except (NotFoundError, ConflictError):
                continue  # that pod is gone
            self._store.put(answer)

    async def delete(self, refs: Sequence[Ref]) -> None:
        for gone in refs:
            if self._is_there(gone):
                await self._cluster.delete(gone.kind, self._namespace, gone.name, gone.uid)

    async def write_status(self, service: Object, status: Object) -> None:
        """Write the status if it changed; ``service`` as it was read, so that a change of the
        spec in between is a :class:`ConflictError` and not a status about another spec."""
        if self._memory.status_is(status, service.get("status", {})):
            return
        answer = await self._cluster.replace(service | {"status": status}, "status")
        self._store.put(answer)
        self._memory.status_written(status, answer.get("status", {}))

    def _live(self, name: Ref) -> Object | None:
        return self._store.get(name.kind, self._namespace, name.name)

    def _is_there(self, doomed: Ref) -> bool:
        live = self._live(doomed)
        return (
            live is not None
            and live["metadata"]["uid"] == doomed.uid
            and "deletionTimestamp" not in live["metadata"]
        )
