"""One operator acts at a time: a Lease (coordination.k8s.io), held from before the first act on.

Ours rather than the client's: that one has no time-out on a renewal, so that a holder whose calls
hang goes on acting after another has taken over; and it does not let go at the end, so that every
planned restart would stand still for a lease's duration.

A lease is over when it has not *changed* for its duration by our own clock: clocks of other
machines are never compared.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from batchfleet_operator.cluster import Cluster
from batchfleet_operator.decision import Object
from batchfleet_operator.errors import ClusterError, ConflictError, NotFoundError

logger = logging.getLogger(__name__)

NAME = "batchfleet-operator"

# client-go's proportions: the holder gives up well before another may take over.
DURATION_SECONDS = 15
DEADLINE_SECONDS = 10.0
RENEW_SECONDS = 3.0
WAIT_SECONDS = 2.0  # between looks at somebody else's lease


class LeaseLostError(Exception):
    """We may no longer act: the process must end."""


class Lease:
    """Our part in the lease of one namespace; ``now`` is UTC, for people who read it.

    ``identity`` must be unique among processes that may run at the same time.  A pod's name is,
    and lets a restarted container have its own lease back at once.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, identity: str, now: Callable[[], datetime]
    ) -> None:
        self.held = False
        self._cluster = cluster
        self._namespace = namespace
        self._identity = identity
        self._now = now
        self._seen: Object | None = None
        self._seen_at = 0.0  # when it had changed last, by the event loop's clock

    async def acquire(self) -> None:
        """Wait until we hold it."""
        told = None
        while not self.held:
            try:
                self.held = await self._try()
                blocker = f"held by {_holder(self._seen)}" if self._seen else ""
            except ConflictError:
                continue  # somebody was faster: see who
            except ClusterError as error:
                blocker = str(error)
            if not self.held:
                if blocker != told:
                    logger.info("waiting for the lease %s/%s: %s", self._namespace, NAME, blocker)
                told = blocker
                await asyncio.sleep(WAIT_SECONDS)
        logger.info("got the lease %s/%s as %s", self._namespace, NAME, self._identity)

    async def keep(self) -> None:
        """Renew what was acquired until cancelled.  Raises :class:`LeaseLostError`."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + DEADLINE_SECONDS
        reason = "the API server does not answer"
        while self._seen:
            try:
                async with asyncio.timeout_at(deadline):
                    await asyncio.sleep(RENEW_SECONDS)
                    begun = clock()
                    await self._renew(self._seen)
                deadline = begun + DEADLINE_SECONDS
            except (TimeoutError, ConflictError, NotFoundError) as error:
                reason = str(error) or reason
                break
            except ClusterError as error:
                reason = str(error)  # once more, while there is time
        self.held = False
        raise LeaseLostError(f"lost the lease {self._namespace}/{NAME}: {reason}")

    async def release(self) -> None:
        """Let go at once, so that a successor need not wait; if that fails, it has to."""
        if not self.held or self._seen is None:
            return
        self.held = False
        try:
            await self._write(self._seen, {"holderIdentity": "", "leaseDurationSeconds": 1})
        except ClusterError as error:
            logger.warning("lease %s/%s not released: %s", self._namespace, NAME, error)

    async def _try(self) -> bool:
        """One attempt.  Raises :class:`ConflictError` when somebody else wrote in between."""
        clock = asyncio.get_running_loop().time
        try:
            lease = await self._cluster.get("Lease", self._namespace, NAME)
        except NotFoundError:
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"namespace": self._namespace, "name": NAME},
                "spec": self._terms() | {"acquireTime": self._time(), "leaseTransitions": 0},
            }
            self._seen = await self._cluster.create(lease)
            return True
        if self._seen is None or _version(lease) != _version(self._seen):
            self._seen, self._seen_at = lease, clock()
        spec = lease["spec"]
        over_at = self._seen_at + spec.get("leaseDurationSeconds", DURATION_SECONDS)
        if _holder(lease) not in ("", self._identity) and clock() < over_at:
            return False
        transitions = spec.get("leaseTransitions", 0) + 1
        taken = {"acquireTime": self._time(), "leaseTransitions": transitions}
        await self._write(lease, self._terms() | taken)
        return True

    async def _renew(self, lease: Object) -> None:
        try:
            await self._write(lease, self._terms())
        except ConflictError:
            lease = await self._cluster.get("Lease", self._namespace, NAME)
            if _holder(lease) != self._identity:
                raise ConflictError(f"{_holder(lease) or 'nobody'} holds it") from None
            await self._write(lease, self._terms())  # ours still: somebody labelled it, say

    async def _write(self, lease: Object, change: Object) -> None:
        """Change the lease as it was seen; :class:`ConflictError` if it is another by now."""
        spec = lease["spec"] | {"renewTime": self._time()} | change
        self._seen = await self._cluster.replace(lease | {"spec": spec})

    def _terms(self) -> Object:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": self._time(),
        }

    def _time(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _holder(lease: Object) -> str:
    return str(lease["spec"].get("holderIdentity", ""))


def _version(lease: Object) -> str:
    return str(lease["metadata"]["resourceVersion"])
