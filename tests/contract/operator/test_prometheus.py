"""Our queries against a real Prometheus, and the real client: what is asked, and what comes back.

One server for all: most of what it knows was written for it beforehand, so that windows of minutes
need no minutes; what scraping itself does (pods that go, pages that cannot be read) is scraped.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from batchfleet_operator.config import Config, Monitoring, PrometheusConfig
from batchfleet_operator.metering import promql
from batchfleet_operator.metering.sampler import Sampler
from batchfleet_operator.metering.signals import Reading, Signals, Watched
from batchfleet_operator.metering.sources import Sources
from batchfleet_operator.metrics import Metrics
from batchfleet_operator.remediation import presets
from batchfleet_operator.store import Key, Store
from batchfleet_worker.metrics import Metrics as WorkerMetrics
from batchfleet_worker.simulator.metrics import SECONDS
from tests.support.eventually import eventually
from tests.support.prometheus import Pages, Pod, RealPrometheus

T = TypeVar("T")
RECORDED = Path(__file__).parents[1] / "recordings/generate/metrics.txt"
OLDER_NAMES = {"vllm:gpu_cache_usage_perc"}
"""Gone from the engine that was recorded."""
METRICS = frozenset(
    re.findall(
        r"\b(?:batchfleet_|vllm:)[a-z0-9_:]+",
        promql.snapshot() + promql.readings(dict.fromkeys(promql.ALL_NUMBERS, True), 60),
    )
)
"""All that we ask for."""


def vllm(
    *,
    running: float = 0,
    waiting: float = 0,
    kv: float = 0.0,
    iterations: float = 10.0,
    latency: Mapping[str, float] | None = None,
    kv_name: str = "vllm:kv_cache_usage_perc",
    blocks: str = "1000",
) -> Callable[[float], dict[str, float]]:
    """An engine's series after so many seconds; ``latency``: per second, by bucket's edge."""
    label = '{engine="0",model_name="m"'

    def page(seconds: float) -> dict[str, float]:
        rates = latency or {}
        ended = max(rates.values(), default=0.0) * seconds
        return {
            f"vllm:num_requests_running{label}}}": running,
            f"vllm:num_requests_waiting{label}}}": waiting,
            f"{kv_name}{label}}}": kv,
            f"vllm:iteration_tokens_total_count{label}}}": iterations * seconds,
            f'vllm:cache_config_info{label},block_size="16",num_gpu_blocks="{blocks}"}}': 1,
            **{
                f'vllm:e2e_request_latency_seconds_bucket{label},le="{edge}"}}': rate * seconds
                for edge, rate in rates.items()
            },
            f"vllm:e2e_request_latency_seconds_sum{label}}}": 0.5 * ended,
            f"vllm:e2e_request_latency_seconds_count{label}}}": ended,
            f"vllm:request_queue_time_seconds_sum{label}}}": 0.1 * ended,
            f"vllm:request_queue_time_seconds_count{label}}}": ended,
            f"vllm:request_prompt_tokens_sum{label}}}": 200 * ended,
            f"vllm:request_prompt_tokens_count{label}}}": ended,
            f"vllm:request_generation_tokens_sum{label}}}": 50 * ended,
            f"vllm:request_generation_tokens_count{label}}}": ended,
        }

    return page


HEALTHY: dict[str, Any] = {
    "offered": 10,
    "merged": 2,
    "completed": 8,
    "in_flight": 24,
    "queued": 3,
    "waits": {0.02: 8},
    "first_token": {0.2: 7, 1.8: 1},
    "between": {0.03: 97, 0.09: 3},
}
LATENCY = {"0.5": 6.0, "1.0": 7.9, "1.5": 8.0, "+Inf": 8.0}
PAST = (
    *(
        Pod(
            "team",
            "chat",
            f"chat-{i}",
            engine=vllm(running=20, waiting=4, kv=0.5, latency=LATENCY),
            **HEALTHY,
        )
        for i in range(2)
    ),
    Pod(
        "team",
        "chat",
        "chat-2",
        revision="2",
        engine=vllm(running=20, waiting=4, kv=0.5, latency=LATENCY),
        **HEALTHY | {"failed": 2, "busy": 5, "first_token": {1.8: 8}},
    ),
    # An engine that has no metrics of its own, and a limit that is none.
    Pod(
        "team",
        "custom",
        "custom-0",
        offered=4,
        completed=4,
        in_flight=5,
        queued=1,
        limit=float("inf"),
    ),
    Pod("team", "older", "older-0", engine=vllm(kv=0.25, kv_name="vllm:gpu_cache_usage_perc")),
    # One of two engines tells nothing, though its pod takes requests.
    Pod("team", "partial", "partial-0", queued=1, engine=vllm(kv=0.9)),
    Pod("team", "partial", "partial-1", queued=1),
    *(
        Pod("team", "stalled", f"stalled-{i}", engine=vllm(running=3, iterations=5 * (i > 0)))
        for i in range(3)
    ),
    Pod("team", "broken", "broken-0", completed=9, broken=1),
    Pod("team", "idle", "idle-0", offered=0),
    Pod("team", "down", "down-0", ready=0),
    Pod("other", "chat", "chat-0", offered=1000),
)

ALERTS = (
    {"alert": "Everywhere", "expr": "vector(1)"},
    {"alert": "Slow", "expr": 'label_replace(vector(1), "service", "chat", "", "")'},
    {"alert": "Waits", "expr": "vector(1)", "for": "1h"},
    {"alert": "Never", "expr": "vector(1) > 2"},
    {
        "alert": "Faulty",
        "expr": "label_replace(vector(1), 'a', '$1', 'b', '.*') / on () (up or vector(1))",
    },
)

QUERIES = {
    "share": ('sum(batchfleet_in_flight{namespace="$namespace",service="$service"})', "100"),
    "nothing": ("sum(no_such_metric)", "100"),
    "not-a-number": ("0 / 0 * scalar(vector(1)) + vector(0)", "100"),
    "many": ('batchfleet_in_flight{service="chat"}', "100"),
    "range": ("batchfleet_in_flight[1m]", "100"),
    "wrong": ("sum(batchfleet_in_flight", "100"),
    "bad-samples": ("vector(1)", "sum by ("),
}


def service(name: str, kind: str = "vLLM", **spec: Any) -> dict[str, Any]:
    return {
        "kind": "BatchInferenceService",
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": name,
            "generation": 1,
            "resourceVersion": "1",
        },
        "spec": {"engine": {"type": kind, "model": "m"}, **spec},
    }


def rule(preset: str, **more: Any) -> dict[str, Any]:
    return {"name": preset.lower(), "preset": preset, "windowSeconds": 60, **more}


def query_rule(name: str, query: str, samples: str) -> dict[str, Any]:
    return {
        "name": name,
        "query": query,
        "samplesQuery": samples,
        "above": "1",
        "action": {"type": "Notify"},
    }


SERVICES = (
    service("chat", alertActions=[rule(name) for name in promql.NUMBERS]),
    service("custom", "Custom", alertActions=[rule("Load"), rule("RequestLatency")]),
    service("older"),
    service("partial"),
    service("stalled", alertActions=[rule("EngineStalled")]),
    service("broken", alertActions=[rule("ErrorRate")]),
    service("idle", alertActions=[rule("ErrorRate"), rule("TimeToFirstToken")]),
    service("down", alertActions=[rule("ServiceDown")]),
    service("queries", alertActions=[query_rule(n, *q) for n, q in QUERIES.items()]),
    service(
        "alerts",
        alertActions=[
            {"name": each.lower(), "alertName": each, "action": {"type": "Notify"}}
            for each in ("Everywhere", "Slow", "Waits", "Never", "Missing", "Faulty")
        ],
    ),
    service("unknown"),
)


def config(prometheus: RealPrometheus, **more: Any) -> Config:
    told = PrometheusConfig(url=prometheus.url, allow_queries=True, timeout_seconds=5, **more)
    return Config(monitoring=Monitoring(labels={"release": "kps"}, prometheus=told))


async def no_secret(namespace: str, name: str) -> dict[str, Any]:
    raise AssertionError(f"nobody names {namespace}/{name}")


def at_once(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def look(settings: Config, *services: dict[str, Any]) -> Callable[[str], Watched]:
    """Tick once, as the operator does; what is then known of each service."""
    store, metrics = Store(), Metrics("test")
    for each in services:
        store.put(each)
        store.put(pod_of(each))

    async def tick() -> Sampler:
        sources = Sources(settings.monitoring.prometheus, no_secret)
        kinds = frozenset({"PodMonitor"})
        sampler = Sampler(
            store, settings, sources, lambda: datetime.now(UTC), lambda: kinds, metrics
        )
        await sampler.tick()
        sampler.close()
        sources.close()
        return sampler

    sampler = at_once(tick())

    def watched(name: str) -> Watched:
        found = sampler.watched(Key("team", name))
        assert found is not None
        return found

    return watched


def pod_of(service: dict[str, Any]) -> dict[str, Any]:
    metadata = service["metadata"]
    return {
        "kind": "Pod",
        "metadata": metadata
        | {"name": f"{metadata['name']}-0", "labels": {"batchfleet.io/service": metadata["name"]}},
    }


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPrometheus]:
    folder = tmp_path_factory.mktemp("past")
    with RealPrometheus(folder, past=PAST, metrics=METRICS, alerts=ALERTS) as running:
        yield running


@pytest.fixture(scope="module")
def watched(prometheus: RealPrometheus) -> Callable[[str], Watched]:
    return look(config(prometheus), *SERVICES)


def signals(watched: Watched) -> Signals:
    assert watched.latest is not None
    return watched.latest


def reading(watched: Watched, name: str) -> Reading:
    return watched.readings[name][-1]


def number(found: float | None) -> float:
    assert found is not None
    return found


About = Callable[[str], Watched]


def test_a_service_with_all_metrics(watched: About) -> None:
    found = signals(watched("chat"))
    assert (found.state, found.message, found.fresh_pods) == ("Found", "", 3)
    assert found.offered_per_second == pytest.approx(30, rel=0.05)
    assert found.completed_per_second == pytest.approx(24, rel=0.05)
    assert found.joined_share == pytest.approx(0.2, rel=0.05)
    assert found.in_flight == 3 * (24 - 4)
    assert found.queued == 3 * (3 + 4)
    assert found.queued_batch == 0
    assert found.kv_usage == pytest.approx(1.5)
    assert found.kv_tokens_per_pod == 16_000
    assert found.prompt_tokens == pytest.approx(200, rel=0.05)
    assert found.output_tokens == pytest.approx(50, rel=0.05)
    assert found.utilisation == pytest.approx(24 / 64)


def test_an_engine_without_metrics_is_sized_by_the_sidecars_alone(watched: About) -> None:
    found = signals(watched("custom"))
    assert (found.state, found.fresh_pods) == ("Found", 1)
    assert found.offered_per_second == pytest.approx(4, rel=0.05)
    assert (found.in_flight, found.queued) == (5, 1)
    assert number(found.prompt_tokens) == pytest.approx(100)
    assert number(found.output_tokens) == pytest.approx(40)
    assert (found.kv_usage, found.kv_tokens_per_pod, found.utilisation) == (None, None, None)
    assert reading(watched("custom"), "load").value is None
    assert reading(watched("custom"), "requestlatency").value is None


def test_older_names_of_the_engines_metrics(watched: About) -> None:
    assert signals(watched("older")).kv_usage == pytest.approx(0.25)


def test_a_part_of_the_engines_is_not_taken_for_all(watched: About) -> None:
    found = signals(watched("partial"))
    assert (found.kv_usage, found.queued) == (None, None)
    assert found.fresh_pods == 2
    assert found.offered_per_second == pytest.approx(20, rel=0.05)
    assert "1 pods that take requests have no metrics" in found.message


def test_nothing_is_found_of_a_service_that_is_not_scraped(watched: About) -> None:
    found = signals(watched("unknown"))
    assert (found.state, found.offered_per_second, found.fresh_pods) == ("NotScraped", None, None)
    assert "release=kps" in found.message


def test_latencies_are_exact_at_a_buckets_edge(watched: About) -> None:
    """1 request of 80 takes over 1 s, and a quarter of the last pod's: 10 of 24 first tokens."""
    chat = watched("chat")
    latency, first = reading(chat, "requestlatency"), reading(chat, "timetofirsttoken")
    assert 0.5 < number(latency.value) <= 1.0
    assert latency.samples == pytest.approx(24 * 60, rel=0.05)
    assert latency.queue_share == pytest.approx((0.02 + 0.1) / (0.02 + 0.5), rel=0.1)
    assert 1.5 < number(first.value) <= 2.0
    assert 0 < number(first.queue_share) < 1
    between = reading(chat, "intertokenlatency")
    assert number(between.value) <= 0.03
    assert between.queue_share == 0


def test_errors_leave_out_what_is_only_busy(watched: About) -> None:
    errors = reading(watched("chat"), "errorrate")
    assert errors.value == pytest.approx(2 / 26, rel=0.1)
    assert errors.by_pod == {
        "chat-0": 0,
        "chat-1": 0,
        "chat-2": pytest.approx(0.2, rel=0.1),
    }
    assert errors.samples_by_pod["chat-2"] == pytest.approx(600, rel=0.1)


def test_a_stream_that_breaks_is_an_error(watched: About) -> None:
    assert reading(watched("broken"), "errorrate").value == pytest.approx(0.1, rel=0.1)


def test_throughput_and_what_is_usual(watched: About) -> None:
    usual = reading(watched("chat"), "throughput")
    assert usual.value == pytest.approx(24, rel=0.05)
    assert usual.baseline == pytest.approx(24, rel=0.1)


def test_load_counts_those_who_wait(watched: About) -> None:
    assert reading(watched("chat"), "load").value == pytest.approx(27 / 64, rel=0.01)


def test_the_pod_that_stands_still_is_named(watched: About) -> None:
    stalled = reading(watched("stalled"), "enginestalled")
    assert stalled.value == 1
    assert stalled.by_pod == {"stalled-0": 1, "stalled-1": 0, "stalled-2": 0}
    assert reading(watched("chat"), "enginestalled").value == 0


def test_pods_that_take_no_requests(watched: About) -> None:
    assert reading(watched("down"), "servicedown").value == 0
    assert reading(watched("chat"), "servicedown").value == 1


def test_no_requests_are_no_number(watched: About) -> None:
    idle = watched("idle")
    assert reading(idle, "errorrate").value is None
    assert reading(idle, "timetofirsttoken").value is None
    assert reading(idle, "errorrate").samples == 0
    assert signals(idle).offered_per_second == 0
    assert signals(idle).joined_share is None


def test_queries_of_a_services_own(watched: About) -> None:
    found = {name: reading(watched("queries"), name) for name in QUERIES}
    assert [name for name, each in found.items() if each.problem] == [
        "many",
        "range",
        "wrong",
        "bad-samples",
    ]
    assert found["nothing"].value is None
    assert found["not-a-number"].value is None
    assert "unclosed left parenthesis" in (found["wrong"].problem or "")
    assert "not one" in (found["many"].problem or "")
    assert "range" in (found["range"].problem or "")
    assert (found["bad-samples"].problem or "").startswith("samplesQuery: ")


def test_a_query_for_one_number_gives_it_with_its_samples(prometheus: RealPrometheus) -> None:
    own = query_rule("share", *QUERIES["share"])
    found = reading(look(config(prometheus), service("chat", alertActions=[own]))("chat"), "share")
    assert (found.value, found.samples, found.problem) == (72, 100, None)


def test_alerts_of_prometheus_own(prometheus: RealPrometheus) -> None:
    def states() -> dict[str, Any]:
        alerts = look(config(prometheus), SERVICES[-2])("alerts")
        found = {name: reading(alerts, name) for name in alerts.readings}
        assert found["everywhere"].alert == "firing"
        assert found["faulty"].problem
        return found

    found = eventually(states, within_seconds=10, every_seconds=0.5)
    assert found["waits"].alert == "pending"
    assert found["never"].alert == "inactive"
    assert found["slow"].alert == "inactive"  # it fires, for another service
    assert found["missing"].problem == "Prometheus has no alert rule named Missing"
    assert found["faulty"].alert is None


def test_pods_that_go_are_missed_at_once(tmp_path: Path) -> None:
    pods = [Pod("team", "web", f"web-{i}", in_flight=5) for i in range(2)]
    with Pages(pods) as web, RealPrometheus(tmp_path, targets=web.targets) as prometheus:
        follow_web(web, prometheus)


def follow_web(web: Pages, prometheus: RealPrometheus) -> None:
    until_web(prometheus, lambda found: found.fresh_pods == 2)
    web.silence("web-1")
    alone = until_web(prometheus, lambda found: found.fresh_pods == 1)
    assert alone.in_flight == 5
    assert alone.message == "1 of 2 pods answer Prometheus"
    web.silence("web-0")
    dark = until_web(prometheus, lambda found: found.state == "NotScraped")
    assert (dark.in_flight, dark.offered_per_second) == (None, None)
    assert "cannot scrape" in dark.message


def until_web(prometheus: RealPrometheus, as_wanted: Callable[[Signals], bool]) -> Signals:
    def seen() -> Signals:
        found = signals(look(config(prometheus), service("web", "Custom"))("web"))
        assert as_wanted(found), found
        return found

    return eventually(seen, within_seconds=15, every_seconds=0.2)


def test_samples_that_are_too_old_are_none(prometheus: RealPrometheus) -> None:
    """Its samples are five seconds apart; some of them are older than one second."""

    def stale() -> bool:
        found = signals(look(config(prometheus, max_age_seconds=1), service("chat"))("chat"))
        assert found.in_flight is None
        return found.state == "Stale"

    eventually(stale, within_seconds=20, every_seconds=0.3)


def test_one_round_of_questions_is_few(prometheus: RealPrometheus) -> None:
    store, metrics = Store(), Metrics("test")
    for number in range(60):
        store.put(service(f"s{number}", alertActions=[rule(name) for name in promql.NUMBERS]))

    async def tick() -> None:
        settings = config(prometheus)
        sources = Sources(settings.monitoring.prometheus, no_secret)
        sampler = Sampler(store, settings, sources, lambda: datetime.now(UTC), frozenset, metrics)
        await sampler.tick()
        sampler.close()
        sources.close()

    at_once(tick())
    assert b'batchfleet_operator_queries_total{outcome="done"} 2.0' in metrics.as_text()


def test_every_metric_that_is_asked_for_is_told_by_somebody() -> None:
    told = set(re.findall(r"^[a-z0-9_:]+", WorkerMetrics.of("test").render(), re.M))
    told |= set(re.findall(r"^[a-z0-9_:]+", RECORDED.read_text(), re.M))
    assert METRICS - told == OLDER_NAMES


def test_the_presets_bounds_lie_on_buckets_edges() -> None:
    metrics = WorkerMetrics.of("test")
    edges = {
        "RequestLatency": SECONDS,
        "TimeToFirstToken": metrics.time_to_first_token_seconds.edges,
        "InterTokenLatency": metrics.inter_token_seconds.edges,
    }
    for name, preset in presets.PRESETS.items():
        if preset.latency:
            assert preset.bound in edges[name]
