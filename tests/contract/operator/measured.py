"""A fleet whose past a real Prometheus knows, and one look at it as the operator takes it.

One server for each module of tests: what it knows was written for it beforehand, so that windows of
minutes need no minutes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from batchfleet_operator.config import Config, Monitoring, PrometheusConfig
from batchfleet_operator.metering import promql
from batchfleet_operator.metering.sampler import Sampler
from batchfleet_operator.metering.signals import Reading, Signals, Watched
from batchfleet_operator.metering.sources import Sources
from batchfleet_operator.metrics import Metrics
from batchfleet_operator.store import Key, Store
from tests.support.prometheus import Pod, RealPrometheus

T = TypeVar("T")
METRICS = frozenset(
    re.findall(
        r"\b(?:batchfleet_|vllm:)[a-z0-9_:]+",
        " ".join(
            [
                *promql.snapshot(),
                *promql.readings(dict.fromkeys(promql.ALL_NUMBERS, True), 60),
                *promql.readings(dict.fromkeys(promql.ALL_NUMBERS, False), 60),
            ]
        ),
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
    "whole": {0.4: 6, 0.9: 3.9, 1.4: 0.1},
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
        waits={1.2: 4},
        whole={3.0: 4},
    ),
    # A sidecar from before it timed whole requests; its engine does.
    Pod("team", "before", "before-0", waits={0.02: 8}, whole=None, engine=vllm(latency=LATENCY)),
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
    service("before", alertActions=[rule("RequestLatency")]),
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


def signals(watched: Watched) -> Signals:
    assert watched.latest is not None
    return watched.latest


def reading(watched: Watched, name: str) -> Reading:
    return watched.readings[name][-1]


def number(found: float | None) -> float:
    assert found is not None
    return found


About = Callable[[str], Watched]
