"""The tick, in virtual time: what is asked, who is woken, and what a failure leaves behind.

The Prometheus here answers with plain values; the contract test holds the queries themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from batchfleet_operator.api.service import PrometheusSource
from batchfleet_operator.config import Config
from batchfleet_operator.errors import NoAnswerError, PrometheusError, QueryRefusedError
from batchfleet_operator.metering.answers import Alert, Answer, Sample
from batchfleet_operator.metering.sampler import Sampler
from batchfleet_operator.metering.signals import Reading, Signals
from batchfleet_operator.metrics import Metrics
from batchfleet_operator.store import Key, Store
from tests.support import virtual

START = datetime(2026, 1, 1, tzinfo=UTC)
CHAT, OTHER = Key("team", "chat"), Key("team", "other")
THEIRS = {"prometheus": {"url": "http://theirs", "credentialsSecretName": "mine"}}


def clock() -> datetime:
    return START + timedelta(seconds=asyncio.get_running_loop().time())


@dataclass
class Server:
    """A Prometheus: knows these services, and answers these queries of their own."""

    services: set[Key] = field(default_factory=lambda: {CHAT, OTHER})
    customs: dict[str, Answer] = field(default_factory=dict)
    down: PrometheusError | None = None
    seconds: float = 0.0  # that it needs for an answer
    warnings: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    closed: bool = False

    async def query(self, promql: str, at: float | None = None) -> Answer:
        self.asked.append(promql)
        await asyncio.sleep(self.seconds)
        if self.down is not None:
            raise self.down
        if promql in self.customs:
            return self.customs[promql]
        if "fresh_pods" not in promql:
            return Answer(
                "vector", [self._sample(key, "Load value", 0.95) for key in self.services]
            )
        samples = [
            self._sample(key, name, 1.0)
            for key in self.services
            for name in ("fresh_pods", "offered_per_second", "in_flight", "queued", "waiting")
        ]
        return Answer("vector", samples, self.warnings)

    async def alerts(self, names: Collection[str]) -> list[Alert]:
        self.asked.append(f"alerts {sorted(names)}")
        if self.down is not None:
            raise self.down
        return [Alert("Slow", "firing")]

    def close(self) -> None:
        self.closed = True

    @staticmethod
    def _sample(key: Key, signal: str, value: float) -> Sample:
        return Sample({"namespace": key.namespace, "service": key.name, "signal": signal}, value)


@dataclass
class Servers:
    """The operator's own, and those that services name."""

    mine: Server | None = field(default_factory=Server)
    theirs: dict[str, Server] = field(default_factory=dict)

    def own(self) -> Server | None:
        return self.mine

    def of_service(self, namespace: str, source: PrometheusSource) -> Server:
        return self.theirs.setdefault(f"{namespace} {source.url}", Server())


@dataclass
class Stage:
    servers: Servers = field(default_factory=Servers)
    config: dict[str, Any] = field(default_factory=dict)
    store: Store = field(default_factory=Store)
    metrics: Metrics = field(default_factory=lambda: Metrics("test"))
    woken: list[tuple[float, Key]] = field(default_factory=list)
    version: int = 0

    def put(self, key: Key, *, status: Any = None, generation: int = 1, **spec: Any) -> None:
        self.version += 1
        self.store.put(
            {
                "kind": "BatchInferenceService",
                "metadata": {
                    "namespace": key.namespace,
                    "name": key.name,
                    "uid": key.name,
                    "generation": generation,
                    "resourceVersion": str(self.version),
                },
                "spec": {"engine": {"type": "vLLM", "model": "m"}, **spec},
                "status": status or {},
            }
        )

    def play(self, story: Callable[[Sampler], Awaitable[None]]) -> None:
        """Run the sampler for as long as the story lasts."""

        async def stage() -> None:
            config = Config.parse({"monitoring": {"prometheus": self.config}})
            sampler = Sampler(self.store, config, self.servers, clock, frozenset, self.metrics)
            loop = asyncio.get_running_loop()
            running = asyncio.create_task(
                sampler.run(lambda key: self.woken.append((loop.time(), key)))
            )
            await story(sampler)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            sampler.close()

        virtual.run(stage())


def latest(sampler: Sampler, key: Key = CHAT) -> Signals:
    watched = sampler.watched(key)
    assert watched is not None
    assert watched.latest is not None
    return watched.latest


def reading(sampler: Sampler, rule: str, key: Key = CHAT) -> Reading:
    watched = sampler.watched(key)
    assert watched is not None
    return watched.readings[rule][-1]


LOAD = {"name": "busy", "preset": "Load"}
SCALED = {"maxReplicas": 4}


def custom(name: str, query: str, samples: str = "n") -> dict[str, Any]:
    action = {"type": "Notify"}
    return {"name": name, "query": query, "samplesQuery": samples, "above": "1", "action": action}


def test_it_ticks_and_wakes_those_that_act() -> None:
    stage = Stage()
    stage.put(CHAT, autoscaling=SCALED)
    stage.put(OTHER)

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(31)
        assert latest(sampler).offered_per_second == 1
        assert latest(sampler, OTHER).state == "Found"

    stage.play(story)
    assert stage.woken == [(0, CHAT), (15, CHAT), (30, CHAT)]


def test_a_rollout_that_is_judged_wakes_too() -> None:
    stage = Stage()
    stage.put(CHAT, status={"rollout": {"state": "Judging", "revision": "chat-2"}})

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(1)
        watched = sampler.watched(CHAT)
        assert watched is not None
        assert set(watched.readings) == {"rollout/errors", "rollout/ttft"}

    stage.play(story)
    assert stage.woken == [(0, CHAT)]


def test_a_tick_that_is_slow_is_followed_by_the_next_one() -> None:
    stage = Stage()
    stage.servers.mine = Server(seconds=10)  # the first question is asked alone
    stage.put(CHAT, autoscaling=SCALED)

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(45)

    stage.play(story)
    assert stage.woken == [(20, CHAT), (41, CHAT)]


def test_an_early_look_is_early_but_not_more_often_than_each_second() -> None:
    stage = Stage()
    stage.put(CHAT, autoscaling=SCALED)

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(5)
        for _ in range(100):
            sampler.soon()
            await asyncio.sleep(0.02)

    stage.play(story)
    assert [round(at) for at, _ in stage.woken] == [0, 5, 6]


def test_a_prometheus_that_is_gone_leaves_nothing_known_and_is_asked_once_a_tick() -> None:
    stage = Stage()
    server = stage.servers.mine = Server()
    stage.put(CHAT, autoscaling=SCALED, alertActions=[LOAD])

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(16)
        assert reading(sampler, "busy").value == 0.95
        server.down = NoAnswerError("prometheus: Connection refused")
        server.asked.clear()
        await asyncio.sleep(15)
        assert len(server.asked) == 1
        gone = latest(sampler)
        assert (gone.state, gone.message) == ("PrometheusError", "prometheus: Connection refused")
        assert gone.offered_per_second is None
        assert reading(sampler, "busy").value is None
        server.down = None
        await asyncio.sleep(15)
        assert latest(sampler).state == "Found"
        assert reading(sampler, "busy").value == 0.95

    stage.play(story)
    text = stage.metrics.as_text()
    assert b'batchfleet_operator_ticks_total{outcome="failed"} 1.0' in text
    assert b'batchfleet_operator_ticks_total{outcome="done"} 3.0' in text


def test_an_answer_that_is_only_a_part_is_none() -> None:
    stage = Stage()
    stage.servers.mine = Server(warnings=["one store did not answer"])
    stage.put(CHAT, autoscaling=SCALED)

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(1)
        assert latest(sampler).state == "PrometheusError"
        assert "one store did not answer" in latest(sampler).message

    stage.play(story)


def test_a_part_of_the_snapshot_that_fails_leaves_nothing_known() -> None:
    stage = Stage()
    server = stage.servers.mine = Server()
    stage.put(CHAT, autoscaling=SCALED, alertActions=[LOAD])

    async def too_slow(promql: str, at: float | None = None) -> Answer:
        if "kv_blocks" in promql:
            raise NoAnswerError("prometheus: query timed out")
        return await Server.query(server, promql, at)

    server.query = too_slow  # type: ignore[method-assign]

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(1)
        assert latest(sampler).message == "prometheus: query timed out"
        assert latest(sampler).offered_per_second is None
        assert reading(sampler, "busy").note == "prometheus: query timed out"

    stage.play(story)


def test_all_of_a_tick_is_about_one_moment() -> None:
    stage = Stage()
    server = stage.servers.mine = Server()
    stage.put(CHAT, autoscaling=SCALED, alertActions=[LOAD])
    moments: list[float | None] = []

    async def dated(promql: str, at: float | None = None) -> Answer:
        moments.append(at)
        return replace(await Server.query(server, promql, at), at=at or 1000.0)

    server.query = dated  # type: ignore[method-assign]

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(1)

    stage.play(story)
    assert moments[0] is None
    assert set(moments[1:]) == {1000.0}


def test_rules_queries_fail_one_by_one() -> None:
    stage = Stage(config={"allowQueries": True})
    good = Answer("vector", [Sample({}, 5.0)])
    server = stage.servers.mine = Server(
        customs={"good": good, "n": good, "many": Answer("matrix")}
    )

    async def refuse(promql: str, at: float | None = None) -> Answer:
        if promql == "bad":
            raise QueryRefusedError("prometheus: parse error")
        return await Server.query(server, promql, at)

    server.query = refuse  # type: ignore[method-assign]
    rules = [custom("a", "good"), custom("b", "bad"), custom("c", "many"), LOAD]
    stage.put(CHAT, alertActions=[*rules, custom("d", "good", "bad")])

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(1)
        assert (reading(sampler, "a").value, reading(sampler, "a").samples) == (5, 5)
        assert reading(sampler, "b").problem == "query: prometheus: parse error"
        assert reading(sampler, "c").problem is not None
        assert reading(sampler, "d").problem == "samplesQuery: prometheus: parse error"
        assert reading(sampler, "busy").value == 0.95
        assert latest(sampler).state == "Found"

    stage.play(story)


def test_queries_that_are_not_allowed_are_not_asked() -> None:
    stage = Stage()
    server = stage.servers.mine = Server()
    stage.put(CHAT, alertActions=[custom("a", "secret")])

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(1)
        assert "allowQueries" in (reading(sampler, "a").problem or "")

    stage.play(story)
    assert "secret" not in server.asked


def test_an_alert_is_looked_up_for_all_at_once() -> None:
    stage = Stage()
    server = stage.servers.mine = Server()
    for key in (CHAT, OTHER):
        rule = {"name": "slow", "alertName": "Slow", "action": {"type": "Notify"}}
        stage.put(key, alertActions=[rule])

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(1)
        assert reading(sampler, "slow", OTHER).alert == "firing"

    stage.play(story)
    assert [each for each in server.asked if "alerts" in each] == ["alerts ['Slow']"]


def test_a_prometheus_of_its_own_is_asked_apart_and_only_where_that_is_allowed() -> None:
    stage = Stage(config={"allowSources": True})
    slow = stage.servers.theirs["team http://theirs"] = Server(down=NoAnswerError("theirs: gone"))
    stage.put(CHAT, monitoring=THEIRS, autoscaling=SCALED)
    stage.put(OTHER, autoscaling=SCALED)

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(1)
        assert latest(sampler).message == "theirs: gone"
        assert latest(sampler, OTHER).state == "Found"
        stage.store.remove(stage.store.parent(CHAT) or {})
        await asyncio.sleep(15)
        assert sampler.watched(CHAT) is None

    stage.play(story)
    mine = stage.servers.mine
    assert mine is not None
    assert not any('"chat"' in query for query in mine.asked)
    assert slow.closed


def test_without_permission_its_prometheus_is_not_even_connected() -> None:
    stage = Stage()
    stage.put(CHAT, monitoring=THEIRS, alertActions=[LOAD])

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(1)
        assert "allowSources" in latest(sampler).message
        assert reading(sampler, "busy").value is None

    stage.play(story)
    assert stage.servers.theirs == {}


def test_without_any_prometheus_nothing_is_watched() -> None:
    stage = Stage(servers=Servers(mine=None))
    stage.put(CHAT, autoscaling=SCALED)

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(20)
        assert sampler.watched(CHAT) is None

    stage.play(story)
    assert stage.woken == []


def test_a_rule_that_is_changed_forgets_what_it_was() -> None:
    stage = Stage()
    stage.put(CHAT, alertActions=[LOAD, {"name": "down", "preset": "ServiceDown"}])

    async def story(sampler: Sampler) -> None:
        await asyncio.sleep(31)
        changed = LOAD | {"windowSeconds": 30}
        down = {"name": "down", "preset": "ServiceDown"}
        stage.put(CHAT, generation=2, alertActions=[changed, down])
        await asyncio.sleep(15)
        watched = sampler.watched(CHAT)
        assert watched is not None
        assert len(watched.readings["busy"]) == 1
        assert len(watched.readings["down"]) == 4

    stage.play(story)
