"""What is asked of a real Prometheus beside our own numbers, and how much of it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batchfleet_operator.metering import promql
from batchfleet_operator.metering.sampler import Sampler
from batchfleet_operator.metering.sources import Sources
from batchfleet_operator.metrics import Metrics
from batchfleet_operator.remediation import presets
from batchfleet_operator.store import Store
from batchfleet_worker.metrics import Metrics as WorkerMetrics
from batchfleet_worker.simulator.metrics import SECONDS
from tests.contract.operator.measured import (
    METRICS,
    QUERIES,
    SERVICES,
    About,
    at_once,
    config,
    look,
    no_secret,
    query_rule,
    reading,
    rule,
    service,
)
from tests.support.eventually import eventually
from tests.support.prometheus import RealPrometheus

RECORDED = Path(__file__).parents[1] / "recordings/generate/metrics.txt"
OLDER_NAMES = {"vllm:gpu_cache_usage_perc"}
"""Gone from the engine that was recorded."""


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

    found = eventually(states, within_seconds=60, every_seconds=0.5)
    assert found["waits"].alert == "pending"
    assert found["never"].alert == "inactive"
    assert found["slow"].alert == "inactive"  # it fires, for another service
    assert found["missing"].problem == "Prometheus has no alert rule named Missing"
    assert found["faulty"].alert is None


SERVICES_ASKED = 60


def test_one_round_of_questions_is_few(prometheus: RealPrometheus) -> None:
    store, metrics = Store(), Metrics("test")
    for number in range(SERVICES_ASKED):
        store.put(service(f"s{number}", alertActions=[rule(name) for name in promql.NUMBERS]))

    async def tick() -> None:
        settings = config(prometheus)
        sources = Sources(settings.monitoring.prometheus, no_secret)
        sampler = Sampler(store, settings, sources, lambda: datetime.now(UTC), frozenset, metrics)
        await sampler.tick()
        sampler.close()
        sources.close()

    at_once(tick())
    asked = re.search(rb'queries_total{outcome="done"} ([0-9]+)', metrics.as_text())
    assert asked is not None
    assert 0 < int(asked[1]) < 20 < SERVICES_ASKED


def test_every_metric_that_is_asked_for_is_told_by_somebody() -> None:
    told = set(re.findall(r"^[a-z0-9_:]+", WorkerMetrics.of("test").render(), re.M))
    told |= set(re.findall(r"^[a-z0-9_:]+", RECORDED.read_text(), re.M))
    assert METRICS - told == OLDER_NAMES


def test_the_presets_bounds_lie_on_buckets_edges() -> None:
    metrics = WorkerMetrics.of("test")
    edges = {
        "RequestLatency": metrics.request_seconds.edges,
        "TimeToFirstToken": metrics.time_to_first_token_seconds.edges,
        "InterTokenLatency": metrics.inter_token_seconds.edges,
    }
    for name, preset in presets.PRESETS.items():
        if preset.latency:
            assert preset.bound in edges[name]
    assert presets.PRESETS["RequestLatency"].bound in SECONDS  # the engine's own
