"""Counts the whole fleet: one list per kind fills the store, at the start and every ten minutes.

The watches keep the store fresh in between.  What a list is for is what they miss: everything that
was there before they began, and the DELETED of an object that went while a watch was broken (kopf
makes none up).  Kinds that a cluster may lack are not watched at all: whether they are there is
asked every two minutes, and when one is found missing, and their objects are known from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from batchfleet_operator import names
from batchfleet_operator.cluster import Cluster
from batchfleet_operator.errors import ClusterError
from batchfleet_operator.handlers import OURS, WATCHED
from batchfleet_operator.store import Key, Store

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 600.0
DISCOVER_SECONDS = 120.0
AGAIN_SECONDS = 2.0  # after an error

Wake = Callable[[Key], None]


class Census:
    """``namespaces``: those that we may list; none: all at once."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        namespaces: Sequence[str],
    ) -> None:
        self.kinds: frozenset[str] = frozenset()
        """Optional kinds that the cluster serves."""
        self._cluster = cluster
        self._store = store
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._early = asyncio.Event()

    def soon(self) -> None:
        """Somebody has met a kind that is not served: ask at once."""
        self._early.set()

    async def take(self, wake: Wake) -> None:
        """List everything and wake who is concerned.  Raises :class:`ClusterError`."""
        await self.discover(wake)
        for kind in (*(kind.kind for kind in WATCHED), *self.kinds):
            labels = "" if kind == names.KIND else OURS
            for namespace in self._namespaces:
                found = await self._cluster.list(kind, namespace, labels)
                for key in self._store.refresh(kind, namespace, found.items, found.version):
                    wake(key)

    async def discover(self, wake: Wake) -> None:
        """Ask which optional kinds there are now; news concern every service."""
        kinds = frozenset(
            [kind.kind for kind in names.OPTIONAL_KINDS if await self._cluster.has(kind.kind)]
        )
        if kinds != self.kinds:
            for lost in self.kinds - kinds:
                self._store.drop(lost)
            self.kinds = kinds
            for key in self._store.parents():
                wake(key)

    async def first(self, wake: Wake) -> None:
        """Take it once, however long the API server needs; then wake every service."""
        while True:
            try:
                await self.take(wake)
                break
            except ClusterError as error:
                logger.warning("cannot list the fleet, will try again: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
        for key in self._store.parents():
            wake(key)

    async def repeat(self, wake: Wake) -> None:
        """Take it again and again, until cancelled."""
        loop, refresh_in = asyncio.get_running_loop(), REFRESH_SECONDS
        while True:
            begun = loop.time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DISCOVER_SECONDS):
                    await self._early.wait()
            self._early.clear()
            refresh_in -= loop.time() - begun
            try:
                if refresh_in > 0:
                    await self.discover(wake)
                else:
                    await self.take(wake)
                    refresh_in = REFRESH_SECONDS
            except ClusterError as error:
                logger.warning("cannot list the fleet, will try again: %s", error)
