"""One look at one service: gather the facts, plan, carry the plan out.  Decides nothing.

Where nothing differs this makes no API call at all: facts come from the store, and what was applied
is known by its mark.  Where something does, the service itself is read again first (acting for a
service that is gone would make its children anew), and then, in this order:

1. the dry run of a revision that is not cut yet, and the plan anew with the server's verdict;
2. apply, patch, delete;
3. one write of the status, if it changed;
4. events.

An object that the server refuses (a quota, a policy) keeps nothing else from being done: it becomes
an event in the server's words and is tried again later.  Any other error ends the look, and its
loop tries again from the top.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from batchfleet_operator import control, names
from batchfleet_operator.cluster import Cluster
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object, Observed, Plan
from batchfleet_operator.errors import EndingError, ForbiddenError, NotFoundError
from batchfleet_operator.executor import Executor
from batchfleet_operator.loops import WHEN_WOKEN
from batchfleet_operator.memory import Memory
from batchfleet_operator.metering.signals import Watched
from batchfleet_operator.metrics import Metrics
from batchfleet_operator.plan import plan
from batchfleet_operator.recorder import Recorder
from batchfleet_operator.rollouts import leaving
from batchfleet_operator.store import Key, Store
from batchfleet_operator.workers import Workers, wanted_settings

logger = logging.getLogger(__name__)

REFUSED_AGAIN_SECONDS = 30.0
"""A quota or a policy changes without telling us."""


class Reconciler:
    """Looks at services; :meth:`look` is what the loops call.

    ``kinds`` says which optional kinds the cluster serves; ``now`` is UTC; ``watched`` is what
    Prometheus has said of a service so far; ``metrics`` is shown what the services say; ``lost``
    is called when one of ``kinds`` is not served after all.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        workers: Workers,
        config: Config,
        kinds: Callable[[], frozenset[str]],
        now: Callable[[], datetime],
        watched: Callable[[Key], Watched | None] = lambda key: None,
        metrics: Metrics | None = None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._workers = workers
        self._config = config
        self._kinds = kinds
        self._now = now
        self._watched = watched
        self._metrics = metrics
        self._lost = lost
        self._recorder = Recorder(cluster, now)
        self._memories: dict[Key, Memory] = {}

    async def look(self, key: Key) -> float | None:
        """Bring one service closer to what it asks for.

        Returns the seconds until the next look, or None where there is no such service.
        Raises :class:`ClusterError` where the API server stood in the way.
        """
        service = self._store.parent(key)
        memory = self._recall(key, service)
        if service is None:
            return None
        if memory.ends:
            return WHEN_WOKEN  # its DELETED, or the next refresh, ends the loop
        try:
            return await self._look(key, service, memory)
        except EndingError as error:
            memory.ends = True
            logger.info("%s: left alone: %s", key, error)
            return WHEN_WOKEN

    async def _look(self, key: Key, service: Object, memory: Memory) -> float | None:
        if "deletionTimestamp" in service["metadata"]:
            return WHEN_WOKEN  # the garbage collector takes the children
        executor = Executor(self._cluster, self._store, memory, key.namespace, self._now)
        facts = await self._gather(key, memory, executor)
        await self._account(key, service, facts, memory)
        planned = self._plan(service, facts)
        if planned.ask_afresh:
            facts = await self._asked_afresh(facts)
            planned = self._plan(service, facts)
        paused = names.ANNOTATION_AUTOMATION in memory.namespace  # nobody tells us of its end
        if executor.is_done(planned, service) and not paused:
            self._show(key, service, planned, memory)
            return _pause(planned)

        try:
            service = await self._cluster.get(names.KIND, *key)
        except NotFoundError:
            return WHEN_WOKEN  # its DELETED, or the next refresh, ends the loop
        self._store.put(service)
        if service["metadata"]["uid"] != memory.uid or "deletionTimestamp" in service["metadata"]:
            return 0.0
        if control.is_automatic(service):
            memory.namespace = await self._annotations(key.namespace)
            facts = replace(facts, namespace=memory.namespace)
        planned = self._plan(service, facts)
        if planned.dry_run is not None:
            memory.verdict = await executor.dry_run(planned.dry_run)
            planned = self._plan(service, replace(facts, verdict=memory.verdict))
        pause = await self._carry_out(planned, service, facts, memory, executor)
        self._show(key, service, planned, memory)
        return pause

    async def _gather(self, key: Key, memory: Memory, executor: Executor) -> Observed:
        for name in list(memory.taken):
            await executor.look_up(name)  # nobody tells us when a stranger lets go of it
        objects = self._store.children(key)
        pods = _pods(objects)
        self._workers.forget(memory.pods - {pod["metadata"]["uid"] for pod in pods})
        memory.pods = frozenset(pod["metadata"]["uid"] for pod in pods)
        return Observed(
            objects=[*objects, *memory.taken.values()],
            workers=await self._workers.states(pods, wanted_settings(objects)),
            afresh=False,
            kinds=self._kinds(),
            verdict=memory.verdict,
            pruned=memory.pruned(),
            watched=self._watched(key),
            namespace=memory.namespace,
        )

    async def _asked_afresh(self, facts: Observed) -> Observed:
        """The same, with what every sidecar says now: how loaded it is changes all the time."""
        wanted = wanted_settings(facts.objects)
        states = await self._workers.states(_pods(facts.objects), wanted, afresh=True)
        return replace(facts, workers=states, afresh=True)

    async def _account(self, key: Key, service: Object, facts: Observed, memory: Memory) -> None:
        """Tell what became of the requests of pods that have left since the last look."""
        pods = _pods(facts.objects)
        memory.leaving, gone = leaving.departed(memory.leaving, pods, facts.workers)
        for departure in gone:
            if self._metrics is not None:
                self._metrics.count_departure(key, departure)
            if departure.event is not None:
                await self._recorder.post(service, departure.event)

    async def _annotations(self, namespace: str) -> Mapping[str, str]:
        try:
            found = await self._cluster.get(names.NAMESPACE.kind, None, namespace)
        except (NotFoundError, ForbiddenError):  # without the right to read it, it pauses nothing
            return {}
        annotations: Mapping[str, str] = found["metadata"].get("annotations") or {}
        return annotations

    async def _carry_out(
        self, planned: Plan, service: Object, facts: Observed, memory: Memory, executor: Executor
    ) -> float:
        taken = set(memory.taken)
        refusals = await executor.apply(planned.apply)
        if executor.unserved:
            self._lost()
        await executor.patch(planned.patch)
        await executor.delete(planned.delete)
        if taken != set(memory.taken):  # news that the status must tell
            strangers = [memory.taken[name] for name in memory.taken if name not in taken]
            facts = replace(facts, objects=[*facts.objects, *strangers], verdict=memory.verdict)
            planned = self._plan(service, facts)
        await executor.write_status(service, planned.status)
        for event in (*planned.events, *refusals):
            await self._recorder.post(service, event)
        if memory.pruned() != facts.pruned:
            return 0.0  # the write showed that the CRD is older, or no longer is: to be told
        return min(_pause(planned), REFUSED_AGAIN_SECONDS if refusals else WHEN_WOKEN)

    def _show(self, key: Key, service: Object, planned: Plan, memory: Memory) -> None:
        if self._metrics is not None and memory.shown != (planned.status, planned.demand):
            stored = service.get("status")  # a status is large, and one copy is enough
            memory.shown = (
                stored if stored == planned.status else planned.status,
                planned.demand,
            )
            rules = service["spec"].get("alertActions") or ()
            self._metrics.of_services.show(key, planned.status, planned.demand, rules)

    def _plan(self, service: Object, facts: Observed) -> Plan:
        return plan(service, facts, self._config, self._now())

    def _recall(self, key: Key, service: Object | None) -> Memory:
        """The memory of this very service: a namesake made later starts with none."""
        memory = self._memories.pop(key, None)
        uid = service["metadata"]["uid"] if service else ""
        if memory is None or memory.uid != uid:
            if memory:
                self._workers.forget(memory.pods)
            memory = Memory(uid)
        if service:
            self._memories[key] = memory
        elif self._metrics is not None:
            self._metrics.of_services.forget(key)
        return memory


def _pods(objects: Sequence[Object]) -> list[Object]:
    return [object_ for object_ in objects if object_["kind"] == names.POD.kind]


def _pause(planned: Plan) -> float:
    return WHEN_WOKEN if planned.again_in_seconds is None else planned.again_in_seconds
