"""``plan --all``: what would this version and configuration change in a cluster?

The same lists and the same planner as the operator's, and then, in place of each write, its dry
run: what the API server would make of it, compared with what is there.  Nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from batchfleet_operator.census import Census
from batchfleet_operator.cluster import Cluster
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object, Observed, Plan
from batchfleet_operator.errors import ForbiddenError, InvalidError
from batchfleet_operator.executor import Executor
from batchfleet_operator.memory import Memory, ref
from batchfleet_operator.plan import plan
from batchfleet_operator.store import Key, Store

BOOKKEEPING = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "uid")
"""Of metadata: what the server counts and nobody asks for."""


async def survey(
    cluster: Cluster, namespaces: Sequence[str], config: Config, now: datetime
) -> list[str]:
    """One paragraph per service.  Raises :class:`ClusterError`."""
    store = Store()
    census = Census(cluster, store, namespaces)
    await census.take(lambda key: None)
    told = []
    for key in sorted(store.parents()):
        service = store.parent(key) or {}
        memory = Memory(service["metadata"]["uid"])
        executor = Executor(cluster, store, memory, key.namespace, lambda: now)
        facts = Observed(objects=store.children(key), kinds=census.kinds)
        planned = plan(service, facts, config, now)
        if planned.dry_run is not None:
            facts = replace(facts, verdict=await executor.dry_run(planned.dry_run))
            planned = plan(service, facts, config, now)
        lines = await _changes(cluster, store, key, planned, executor)
        told.append("\n  ".join([f"{key}:", *lines]) if lines else f"{key}: no change")
    return told


async def _changes(
    cluster: Cluster, store: Store, key: Key, planned: Plan, executor: Executor
) -> list[str]:
    lines = []
    for wanted in planned.apply:
        what = f"{wanted['kind']} {wanted['metadata']['name']}"
        live = store.get(wanted["kind"], key.namespace, wanted["metadata"]["name"])
        if live is None:
            held = await executor.look_up(ref(wanted)) is not None
            lines.append(f"leave {what}: the name is held" if held else f"create {what}")
            continue
        try:
            then = await cluster.apply(wanted, dry_run=True)
        except (InvalidError, ForbiddenError) as error:
            lines.append(f"change {what}: refused: {error}")
            continue
        lines += [f"change {what}: {line}" for line in differences(_asked(live), _asked(then))]
    lines += [f"annotate {patch.pod.kind} {patch.pod.name}" for patch in planned.patch]
    lines += [f"delete {gone.kind} {gone.name}" for gone in planned.delete]
    return lines


def differences(old: object, new: object, path: str = "") -> Iterator[str]:
    """Each place where two JSON values differ: ``spec.replicas: 1 -> 3``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            yield from differences(old.get(name), new.get(name), f"{path}.{name}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, after, f"{path}[{index}]")
    elif old != new:
        yield f"{path}: {json.dumps(old)} -> {json.dumps(new)}"


def _asked(object_: Object) -> Object:
    """An object without what the server counts."""
    metadata = {k: v for k, v in object_["metadata"].items() if k not in BOOKKEEPING}
    return {k: v for k, v in object_.items() if k != "status"} | {"metadata": metadata}
