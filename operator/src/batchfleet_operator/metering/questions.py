"""All that is asked of one Prometheus in one tick, and the answers by service.

Made by ``sampler`` for each tick.  The first query of the snapshot goes alone: where it is not
answered, nothing else is asked, since a server that is slow or gone would only be asked a thousand
times more.  All others go together, and are about the moment of the first one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol, TypeVar

from batchfleet_operator.config import PrometheusConfig
from batchfleet_operator.errors import NoAnswerError, PrometheusError, QueryRefusedError
from batchfleet_operator.metering import answers, promql
from batchfleet_operator.metering.answers import Alert, Answer, Found, Sample
from batchfleet_operator.metering.interest import Ask, Custom, Interest
from batchfleet_operator.metering.signals import Reading
from batchfleet_operator.store import Key

T = TypeVar("T")

AT_ONCE = 4
"""Questions; a Prometheus computes 20 at once for all that ask it."""

NOT_ALLOWED = (
    "the operator's configuration does not allow queries of a service's own: "
    "monitoring.prometheus.allowQueries in the chart"
)


class Client(Protocol):
    """A Prometheus; the first two raise :class:`PrometheusError`."""

    async def query(self, promql: str, at: float | None = None) -> Answer: ...

    async def alerts(self, names: Collection[str]) -> list[Alert]: ...

    def close(self) -> None: ...


class Questions:
    """One tick's.  ``count`` is told the outcome of each: done or failed."""

    def __init__(
        self,
        client: Client,
        interests: Mapping[Key, Interest],
        config: PrometheusConfig,
        count: Callable[[str], None],
    ) -> None:
        self.complete = True
        """Whether every question has had an answer."""
        self.failure: str | None = None
        """Why nothing is known of any service."""
        self._client = client
        self._interests = interests
        self._config = config
        self._count = count
        self._room = asyncio.Semaphore(AT_ONCE)
        self._at: float | None = None  # the moment that all is asked of, by the server's clock
        self._read_at = datetime.min
        self._answered: list[Answer] = []  # the snapshot's
        self._snapshot: Mapping[tuple[str, str], Sequence[Sample]] = {}
        self._numbers: list[tuple[float, Mapping[tuple[str, str], Sequence[Sample]]]] = []
        self._readings: dict[Key, dict[str, Reading]] = defaultdict(dict)

    async def ask(self, now: Callable[[], datetime]) -> None:
        """Ask them all; what is not answered is not known."""
        age = self._config.max_age_seconds
        pods = promql.pods_of(self._interests, self._config.series_labels)
        first, *others = promql.snapshot(pods, max(age, promql.RATE_SECONDS), age)
        await self._about_all([first])
        if self.failure is None:
            await asyncio.gather(self._about_all(others), *self._about_rules())
        if self.failure is not None:
            self._numbers.clear()
            for key, interest in self._interests.items():
                self._unread(key, interest.rules, self.failure)
        self._snapshot = answers.by_service(self._answered)
        self._read_at = now()

    def found(self, key: Key) -> Found:
        return answers.found(self._snapshot.get(key, ()))

    def readings(self, key: Key) -> Mapping[str, Reading]:
        """Of every rule that the service has, by its name."""
        told = {name: replace(each, at=self._read_at) for name, each in self._readings[key].items()}
        for seconds, numbers in self._numbers:
            found = answers.readings(numbers.get(key, ()), self._read_at)
            told |= {
                name: found.get(ask.number) or Reading(self._read_at)
                for name, ask in self._interests[key].asks.items()
                if ask.window_seconds == seconds
            }
        return told

    def _about_rules(self) -> Iterable[Awaitable[None]]:
        windows: dict[float, dict[Key, dict[str, Ask]]] = defaultdict(lambda: defaultdict(dict))
        alerts: dict[Key, Mapping[str, str]] = {}
        for key, interest in self._interests.items():
            for name, ask in interest.asks.items():
                windows[ask.window_seconds][key][name] = ask
            if interest.alerts:
                alerts[key] = interest.alerts
            for name, custom in interest.customs.items():
                yield self._custom(key, name, custom)
        for seconds, asks in windows.items():
            yield self._about_numbers(seconds, asks)
        if alerts:
            yield self._alerts(alerts)

    async def _about_all(self, queries: Sequence[str]) -> None:
        """A part of the snapshot; without it nothing is known."""
        try:
            told = await self._all_of(queries)
        except PrometheusError as error:
            self.failure = str(error)
            return
        self._answered += told
        self._at = told[0].at if self._at is None else self._at

    async def _about_numbers(self, seconds: float, asks: Mapping[Key, Mapping[str, Ask]]) -> None:
        """The ready-made numbers over one window."""
        wanted: dict[str, bool] = {}
        for each in asks.values():
            for ask in each.values():
                wanted[ask.number] = wanted.get(ask.number, False) or ask.by_pod
        pods = promql.pods_of(asks, self._config.series_labels)
        try:
            told = await self._all_of(promql.readings(wanted, seconds, pods))
        except PrometheusError as error:
            for key, each in asks.items():
                self._unread(key, each, str(error))
            return
        self._numbers.append((seconds, answers.by_service(told)))

    async def _alerts(self, wanted: Mapping[Key, Mapping[str, str]]) -> None:
        names = {name for rules in wanted.values() for name in rules.values()}
        try:
            alerts = await self._put(self._client.alerts(names))
        except PrometheusError as error:
            for key, rules in wanted.items():
                self._unread(key, rules, str(error))
            return
        by_name: dict[str, list[Alert]] = defaultdict(list)
        for each in alerts:
            by_name[each.name].append(each)
        for key, rules in wanted.items():
            for rule, name in rules.items():
                state, problem = answers.alert(by_name[name], name, key)
                reading = Reading(datetime.min, alert=state, problem=problem)
                self._readings[key][rule] = reading

    async def _custom(self, key: Key, rule: str, custom: Custom) -> None:
        if not self._config.allow_queries:
            self._readings[key][rule] = Reading(datetime.min, problem=NOT_ALLOWED)
            return
        value, problem, note = await self._one(custom.query, custom.values, "query")
        samples = None
        if custom.samples_query is not None and problem is None:
            samples, problem, _ = await self._one(
                custom.samples_query, custom.values, "samplesQuery"
            )
        self._readings[key][rule] = Reading(
            datetime.min, value=value, samples=samples, problem=problem, note=note
        )

    async def _one(
        self, query: str, values: Mapping[str, str], what: str
    ) -> tuple[float | None, str | None, str | None]:
        """Number, problem, and note."""
        try:
            answer = await self._put(self._client.query(promql.filled(query, values)))
        except QueryRefusedError as error:
            return None, f"{what}: {error}", None
        except PrometheusError as error:
            return None, None, str(error)
        value, problem = answers.one_number(answer, what)
        remarks = "; ".join((*answer.warnings, *answer.infos))
        return value, problem, remarks or None

    def _unread(self, key: Key, rules: Iterable[str], why: str) -> None:
        self._readings[key].update({name: Reading(datetime.min, note=why) for name in rules})

    async def _all_of(self, queries: Iterable[str]) -> list[Answer]:
        """Whole answers to queries of ours, in their order; all of them, or an error."""
        told = await asyncio.gather(*map(self._ours, queries), return_exceptions=True)
        answered = []
        for each in told:
            if isinstance(each, BaseException):
                raise each
            answered.append(each)
        return answered

    async def _ours(self, query: str) -> Answer:
        """The answer to one query of ours; with warnings it would be only a part."""
        return _whole(await self._put(self._client.query(query, self._at)))

    async def _put(self, question: Awaitable[T]) -> T:
        async with self._room:
            outcome = "failed"
            try:
                answer = await question
                outcome = "done"
            except QueryRefusedError:
                outcome = "done"  # it was answered
                raise
            except PrometheusError:
                self.complete = False
                raise
            finally:
                self._count(outcome)
        return answer


def _whole(answer: Answer) -> Answer:
    """An answer to a question of ours; with warnings it is only a part of what there is."""
    if answer.warnings:
        raise NoAnswerError(f"it answered in part: {'; '.join(answer.warnings)[:300]}")
    return answer
