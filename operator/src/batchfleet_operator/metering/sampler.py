"""The tick: asks Prometheus about all services at once, remembers, and wakes those that act on it.

A tick is one snapshot for all services, one query for each window of the rules' ready-made numbers,
one look at the alerts if a rule names one, and the queries of services' own one by one.  Services
that name a Prometheus of their own are asked there, apart from all others.  What is found goes into
a :class:`History` for each service; ``watched`` is read from memory by ``reconcile``.

A tick never fails as a whole: what could not be asked is remembered as not known.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pydantic import ValidationError

from batchfleet_operator import names
from batchfleet_operator.api.service import BatchInferenceService, PrometheusSource
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object
from batchfleet_operator.metering import answers, interest, presence, promql
from batchfleet_operator.metering.history import History
from batchfleet_operator.metering.interest import Interest
from batchfleet_operator.metering.presence import Surroundings
from batchfleet_operator.metering.questions import Client, Questions
from batchfleet_operator.metering.signals import Reading, Signals, Watched
from batchfleet_operator.metrics import Metrics
from batchfleet_operator.store import Key, Store

logger = logging.getLogger(__name__)

SOON_SECONDS = 1.0
"""Between two ticks, however often somebody asks for one."""

NOT_ALLOWED = (
    "the spec names a Prometheus of its own, which the operator's configuration does not allow: "
    "monitoring.prometheus.allowSources in the chart"
)


class Clients(Protocol):
    """Connects, without asking anything yet."""

    def own(self) -> Client | None: ...

    def of_service(self, namespace: str, source: PrometheusSource) -> Client: ...


@dataclass
class _Known:
    """A service that is looked after."""

    mark: tuple[str, Any, Any]  # of the object that ``interest`` was made from; its UID first
    interest: Interest
    history: History


_Where = tuple[str, PrometheusSource]
"""A Prometheus that services of a namespace name."""


class Sampler:
    """``now`` is UTC; ``kinds``: optional kinds that the cluster serves."""

    def __init__(
        self,
        store: Store,
        config: Config,
        clients: Clients,
        now: Callable[[], datetime],
        kinds: Callable[[], frozenset[str]],
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._config = config
        self._clients = clients
        self._now = now
        self._kinds = kinds
        self._metrics = metrics
        self._own = clients.own()
        self._others: dict[_Where, Client] = {}
        self._known: dict[Key, _Known] = {}
        self._early = asyncio.Event()

    def watched(self, key: Key) -> Watched | None:
        """What is known of a service; ``None``: it was never looked for."""
        known = self._known.get(key)
        return None if known is None else known.history.watched

    def soon(self) -> None:
        """Have the next tick at once."""
        self._early.set()

    async def run(self, wake: Callable[[Key], None]) -> None:
        """Tick until cancelled; ``wake`` the services that act on what was found."""
        loop = asyncio.get_running_loop()
        seconds = self._config.monitoring.prometheus.tick_seconds
        while True:
            begun = loop.time()
            self._early.clear()
            try:
                for key in await self.tick():
                    wake(key)
                    await asyncio.sleep(0)
            except Exception:  # an outermost loop: a fault in a tick must not end the operator
                logger.exception("fault in the operator; will look again")
            await asyncio.sleep(min(SOON_SECONDS, seconds))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(max(begun + seconds, loop.time())):
                    await self._early.wait()

    async def tick(self) -> list[Key]:
        """Ask once about everything.  The services that act on what was found."""
        self._look_around()
        own: dict[Key, _Known] = {}
        others: dict[_Where, dict[Key, _Known]] = defaultdict(dict)
        for key, known in self._known.items():
            source = known.interest.source
            if source is None:
                own[key] = known
            else:
                others[key.namespace, source][key] = known
        for gone in self._others.keys() - others.keys():
            self._others.pop(gone).close()
        with self._metrics.tick_seconds.time():
            complete, *_ = await asyncio.gather(
                self._ask_own(own), *(self._ask_other(*each) for each in others.items())
            )
        self._metrics.ticks.labels("done" if complete else "failed").inc()
        if complete:
            self._metrics.last_tick.set(self._now().timestamp())
        return [key for key, known in self._known.items() if known.interest.automatic]

    def close(self) -> None:
        for client in (self._own, *self._others.values()):
            if client is not None:
                client.close()

    async def _ask_own(self, group: Mapping[Key, _Known]) -> bool:
        if self._own is None or not group:
            return True
        return await self._ask(self._own, group)

    async def _ask_other(self, where: _Where, group: Mapping[Key, _Known]) -> bool:
        if not self._config.monitoring.prometheus.allow_sources:
            for known in group.values():
                refused = Signals(self._now(), names.PROMETHEUS_ERROR, NOT_ALLOWED)
                known.history.see(refused, known.interest.signals_seconds)
                known.history.read(_nothing(known.interest, refused), known.interest.keep_seconds)
            return True
        client = self._others.get(where)
        if client is None:
            client = self._others[where] = self._clients.of_service(*where)
        return await self._ask(client, group)

    async def _ask(self, client: Client, group: Mapping[Key, _Known]) -> bool:
        """Ask one Prometheus about its services.  Whether every question had an answer."""
        interests = {key: known.interest for key, known in group.items()}
        prometheus = self._config.monitoring.prometheus
        questions = Questions(client, interests, prometheus, self._count)
        await questions.ask(self._now)
        at = self._now()
        for key, known in group.items():
            await asyncio.sleep(0)  # a thousand in a row would keep lease and health waiting
            found = questions.found(key)
            if questions.failure is not None:
                signals = Signals(at, names.PROMETHEUS_ERROR, questions.failure)
            elif found.numbers.get(promql.FRESH_PODS):
                signals = answers.signals(found, at, engine_tells=known.interest.engine_tells)
            else:
                signals = presence.absent(found, self._surroundings(key, known.interest), at)
            known.history.see(signals, known.interest.signals_seconds)
            known.history.read(questions.readings(key), known.interest.keep_seconds)
        return questions.complete

    def _count(self, outcome: str) -> None:
        self._metrics.queries.labels(outcome).inc()

    def _surroundings(self, key: Key, wants: Interest) -> Surroundings:
        monitoring = self._config.monitoring
        pods = [o for o in self._store.children(key) if o["kind"] == names.POD.kind]
        return Surroundings(
            pods=len(pods),
            has_pod_monitors=names.POD_MONITOR.kind in self._kinds(),
            labels={**monitoring.labels, **wants.labels},
            max_age_seconds=monitoring.prometheus.max_age_seconds,
        )

    def _look_around(self) -> None:
        """Take up services that are new or changed, and forget those that are gone."""
        keys = set(self._store.parents())
        for gone in self._known.keys() - keys:
            del self._known[gone]
        for key in keys:
            service = self._store.parent(key)
            if service is not None:
                self._take_up(key, service)

    def _take_up(self, key: Key, service: Object) -> None:
        """Read what a service asks for, if it is not what was read last time."""
        metadata, rollout = service["metadata"], service.get("status", {}).get("rollout")
        mark = (metadata["uid"], metadata.get("generation"), rollout)
        known = self._known.get(key)
        if known is not None and known.mark == mark:
            return
        try:
            wants = interest.of(BatchInferenceService.of(service), rollout)
        except ValidationError:
            self._known.pop(key, None)  # its condition says why
            return
        if self._own is None and wants.source is None:
            self._known.pop(key, None)
            return
        if known is None or known.mark[0] != metadata["uid"]:
            self._known[key] = _Known(mark, wants, History(self._now()))
            return
        known.history.forget(known.interest.changed(wants))
        known.mark, known.interest = mark, wants


def _nothing(wants: Interest, why: Signals) -> dict[str, Reading]:
    return {name: Reading(why.at, note=why.message) for name in wants.rules}
