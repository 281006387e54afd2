"""One operator process, from its first call to its last.

Connect, serve health, wait for our CRD and for the lease; then watch, fill the store and let the
loops run, until a signal comes, or the lease or a watch is lost.  Whatever ends one part ends the
process: being started anew is the one recovery that is always tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import random
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

import kopf

from batchfleet_operator import handlers, names, webhook
from batchfleet_operator.census import Census
from batchfleet_operator.cluster import Cluster
from batchfleet_operator.config import Config
from batchfleet_operator.errors import ClusterError
from batchfleet_operator.health import Heartbeat, running_watches, serve
from batchfleet_operator.lease import Lease
from batchfleet_operator.loops import Loops
from batchfleet_operator.metering.sampler import Sampler
from batchfleet_operator.metering.sources import Sources
from batchfleet_operator.metrics import Metrics
from batchfleet_operator.reconcile import Reconciler
from batchfleet_operator.store import Store
from batchfleet_operator.workers import Workers

logger = logging.getLogger(__name__)

CRD_AGAIN_SECONDS = 2.0
TIDY_SECONDS = 60.0
TIDY_WHOLLY = 60
"""Every so many times, which is once an hour, all of it is looked through."""
LISTED_SECONDS = 0.5
"""A watch begins with a list, and does not say when it has it."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    namespaces: Sequence[str]  # none: all
    lease_namespace: str
    identity: str
    health_port: int
    metrics_port: int
    webhook_port: int | None = None  # None: nothing listens


async def run(options: Options, config: Config, metrics: Metrics) -> None:
    """Be an operator.  Returns after a signal; raises, in a group, what ended it otherwise."""
    async with contextlib.AsyncExitStack() as stack:
        cluster = await Cluster.connect(metrics.count_call)
        stack.push_async_callback(cluster.close)
        workers = await stack.enter_async_context(Workers())
        store = Store()
        census = Census(cluster, store, options.namespaces)
        sources = Sources(config.monitoring.prometheus, partial(cluster.get, names.SECRET.kind))
        stack.callback(sources.close)
        sampler = Sampler(store, config, sources, now, lambda: census.kinds, metrics)
        stack.callback(sampler.close)
        reconciler = Reconciler(
            cluster,
            store,
            workers,
            config,
            lambda: census.kinds,
            now,
            sampler.watched,
            metrics,
            lost=census.soon,
        )
        loops = Loops(metrics.measured(reconciler.look), random.random)
        metrics.services.set_function(lambda: len(loops))
        heartbeat = Heartbeat(loops.longest_look_seconds)
        ports = (options.health_port, options.metrics_port)
        await stack.enter_async_context(serve(heartbeat, metrics.as_text, *ports))
        await stack.enter_async_context(webhook.serve(sampler.soon, options.webhook_port))

        lease = Lease(cluster, options.lease_namespace, options.identity, now)
        with _cancelled_by(signal.SIGTERM):  # kopf takes signals over when it runs
            await _wait_for_crd(cluster, heartbeat)
            heartbeat.phase = "standby"
            await lease.acquire()
        stack.push_async_callback(lease.release)

        metrics.leading.set(1)
        watches = len(handlers.WATCHED) * max(1, len(options.namespaces))
        heartbeat.leads(watches)
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(lease.keep(), name="lease")
            working = group.create_task(_work(watches, census, loops, sampler), name="work")
            await kopf.operator(
                registry=handlers.registry(
                    store, loops, metrics, cluster.credentials, stopping=working.cancel
                ),
                settings=handlers.settings(),
                # Else kopf asks for the user's name, and a container's user has none.
                identity=cast("Any", options.identity),
                standalone=True,
                clusterwide=not options.namespaces,
                namespaces=options.namespaces,
            )
            working.cancel()
            keeping.cancel()
        logger.info("stopped")


def now() -> datetime:
    """The one clock of the process."""
    return datetime.now(UTC)


async def _work(watches: int, census: Census, loops: Loops, sampler: Sampler) -> None:
    """Act, but not before everything is known: what is not known yet looks as if it were gone.

    The census comes after kopf's own lists: of what goes in between, nobody would be told.
    """
    while running_watches() < watches:  # noqa: ASYNC110 - kopf has no event for it
        await asyncio.sleep(0.1)
    await asyncio.sleep(LISTED_SECONDS)
    await census.first(loops.wake)
    logger.info("watching; %d services", len(loops))
    async with asyncio.TaskGroup() as group:
        group.create_task(_tidy(), name="tidy")
        group.create_task(census.repeat(loops.wake), name="census")
        group.create_task(loops.run(), name="loops")
        group.create_task(sampler.run(loops.wake), name="sampler")


async def _tidy() -> None:
    """Spare the garbage collector what is there to stay: of a thousand services it would look
    through millions of objects, with lease and health waiting for half a second, again and again.

    Few things here are garbage in cycles.  Those that were made to stay are found once in a while.
    """
    for number in itertools.count():
        if number % TIDY_WHOLLY == 0:
            gc.unfreeze()
        gc.collect()
        gc.freeze()
        await asyncio.sleep(TIDY_SECONDS)


async def _wait_for_crd(cluster: Cluster, heartbeat: Heartbeat) -> None:
    """kopf never watches a kind that is not there when it starts."""
    told = None
    while True:
        try:
            if await cluster.has(names.KIND):
                return
            blocker = f"the cluster has no {names.PLURAL}.{names.GROUP}: install the CRD"
        except ClusterError as error:
            blocker = str(error)
        if blocker != told:
            logger.warning("waiting: %s", blocker)
        told = blocker
        heartbeat.phase = f"waiting: {blocker}"
        await asyncio.sleep(CRD_AGAIN_SECONDS)


@contextlib.contextmanager
def _cancelled_by(number: signal.Signals) -> Iterator[None]:
    """Have a signal cancel this task; as process 1 of a container it would be ignored."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    if task is not None:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(number)
