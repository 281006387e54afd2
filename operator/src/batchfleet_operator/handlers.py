"""kopf's part: watch our services, their labelled children and pods, and tell the store.

Only ``on.event``: those handlers leave nothing on any object, no annotation and no finalizer, so
that a service can always be deleted, with or without an operator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from batchfleet_operator import names
from batchfleet_operator.cluster import Credentials
from batchfleet_operator.decision import Object
from batchfleet_operator.loops import Loops
from batchfleet_operator.metrics import Metrics
from batchfleet_operator.store import Store

WATCHED = (names.PARENT, *names.CHILD_KINDS, names.POD)
OURS = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY},{names.LABEL_SERVICE}"
"""Label selector of children and pods; the watches are narrowed by it on the server."""

CHUNK_OBJECTS = 100
"""Of a watch's first list.  kopf handles a chunk in one go, a millisecond an object, and takes
everything at once unless it is told otherwise."""

IDLE_SECONDS = 0.2
"""A task of kopf's holds an object's last event for so long."""


def registry(
    store: Store,
    loops: Loops,
    metrics: Metrics,
    credentials: Callable[[], Awaitable[Credentials]],
    stopping: Callable[[], object],
) -> kopf.OperatorRegistry:
    """All handlers; ``stopping`` is called when kopf ends, by a signal or a dead watch."""
    handlers = kopf.OperatorRegistry()

    async def seen(event: kopf.RawEvent, **_: Any) -> None:
        object_: Object = dict(event["object"])
        metrics.events_seen.labels(object_["kind"]).inc()
        gone = event["type"] == "DELETED"
        for key in store.remove(object_) if gone else store.put(object_):
            loops.wake(key)

    for each in WATCHED:
        kopf.on.event(*_selector(each), id="seen", registry=handlers)(seen)

    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        found = await credentials()
        scheme, token = found.authorization.split(maxsplit=1) if found.authorization else ("", "")
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_file,
            certificate_path=found.certificate_file,
            private_key_path=found.key_file,
            scheme=scheme or None,
            token=token or None,
            insecure=not found.verify,
        )

    async def stop(**_: Any) -> None:
        stopping()

    kopf.on.login(registry=handlers)(log_in)
    kopf.on.cleanup(registry=handlers)(stop)
    return handlers


def settings() -> kopf.OperatorSettings:
    """What keeps the watches narrow, alive, and kopf's hands off everything else."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True  # neither namespaces nor CRDs are watched
    chosen.watching.chunk_size = CHUNK_OBJECTS
    chosen.queueing.idle_timeout = IDLE_SECONDS
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 360
    chosen.networking.request_timeout = 30
    chosen.process.ultimate_exiting_timeout = 30
    chosen.persistence.diffbase_storage = _Nothing()
    for each in WATCHED[1:]:
        chosen.watching.label_selectors[_selector(each)] = OURS
    return chosen


class _Nothing(kopf.DiffBaseStorage):
    """No memory of what an object was like: kopf copies every object for one, and none is used."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        raise NotImplementedError("on.event has nothing to store")


def _selector(kind: names.Kind) -> tuple[str, str, str]:
    """How kopf names a kind."""
    group, _, version = kind.api_version.rpartition("/")
    return group, version, kind.plural
