"""Events on the service: what ``kubectl describe`` shows of what we did and why.

One Event object per thing that happened, named after it, counted up when it happens again: a
flapping fleet does not fill etcd.  Events are told after everything else and never fail a look.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from batchfleet_operator import names
from batchfleet_operator.cluster import Cluster
from batchfleet_operator.decision import Event, Object, fingerprint
from batchfleet_operator.errors import ClusterError, ConflictError, EndingError

logger = logging.getLogger(__name__)

MESSAGE_MOST_CHARACTERS = 1024  # what the API server accepts


class Recorder:
    """Posts events; ``now`` is UTC."""

    def __init__(self, cluster: Cluster, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._now = now

    async def post(self, service: Object, event: Event) -> None:
        """Tell it; where that fails, the log has it."""
        metadata = service["metadata"]
        name = f"{metadata['namespace']}/{metadata['name']}"
        level = logging.WARNING if event.type == "Warning" else logging.INFO
        logger.log(level, "%s: %s: %s", name, event.reason, event.message)
        try:
            await self._post(metadata, event)
        except EndingError as error:  # its namespace goes, and so does the service
            logger.debug("%s: event %s not posted: %s", name, event.reason, error)
        except ClusterError as error:
            logger.warning("%s: event %s not posted: %s", name, event.reason, error)

    async def _post(self, service: Object, event: Event) -> None:
        at = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        same = fingerprint({"of": service["uid"], "is": [event.type, event.reason, event.message]})
        new: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": service["namespace"], "name": f"{service['name']}.{same}"},
            "involvedObject": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "namespace": service["namespace"],
                "name": service["name"],
                "uid": service["uid"],
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:MESSAGE_MOST_CHARACTERS],
            "source": {"component": "batchfleet-operator"},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
        try:
            await self._cluster.create(new)
        except ConflictError:  # it happened before
            where = ("Event", new["metadata"]["namespace"], new["metadata"]["name"])
            before = await self._cluster.get(*where)
            change = {"count": before.get("count", 1) + 1, "lastTimestamp": at}
            await self._cluster.patch(*where, change)
