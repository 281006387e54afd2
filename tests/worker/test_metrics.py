from __future__ import annotations

import math
import re
from dataclasses import fields
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from batchfleet_worker import errors
from batchfleet_worker.exchange import Lost, Refusal
from batchfleet_worker.histogram import BUCKETS
from batchfleet_worker.metrics import Metrics, main

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"

RECORDED = Path(__file__).parents[1] / "contract/recordings/generate/metrics.txt"

ENGINE = """\
# HELP vllm:num_requests_running Running.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 3.0
# HELP vllm:num_requests_running Running.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="n"} 4.0
# TYPE batchfleet_in_flight counter
batchfleet_in_flight 99

# EOF
"""


def read(text: str) -> dict[str, float]:
    """Sample name and labels → value, by Prometheus' own parser."""
    return {
        sample.name + "".join(f"{{{k}={v}}}" for k, v in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_counted_is_rendered() -> None:
    metrics = Metrics.of("1.2.3")
    metrics.requests_merged_total += 3
    metrics.refuse("queue_full")
    metrics.refuse("not_found")
    metrics.responses_total["2xx"] += 2
    metrics.responses_total["5xx"] += 1
    metrics.set_settings_hash("abc")
    metrics.set_settings_hash("def")
    samples = read(metrics.render())
    assert samples["batchfleet_requests_merged_total"] == 3
    assert samples["batchfleet_requests_refused_total{code=queue_full}"] == 1
    assert samples["batchfleet_requests_refused_total{code=not_found}"] == 1
    assert samples["batchfleet_responses_total{code=2xx}"] == 2
    assert samples["batchfleet_responses_total{code=5xx}"] == 1
    assert samples["batchfleet_build_info{version=1.2.3}"] == 1
    assert samples["batchfleet_settings_info{hash=def}"] == 1
    assert "batchfleet_settings_info{hash=abc}" not in samples
    assert samples["batchfleet_in_flight_limit"] == math.inf


def test_histograms_are_cumulative_and_an_edge_belongs_to_its_bucket() -> None:
    metrics = Metrics.of("x")
    for seconds in (0.0, 1, 1.0001, 1e6):
        metrics.queue_wait_seconds.observe(seconds)
    samples = read(metrics.render())
    name = "batchfleet_queue_wait_seconds"
    assert samples[f"{name}_bucket{{le=0.001}}"] == 1
    assert samples[f"{name}_bucket{{le=1}}"] == 2
    assert samples[f"{name}_bucket{{le=1.5}}"] == 3
    assert samples[f"{name}_bucket{{le={BUCKETS[-1]}}}"] == 3
    assert samples[f"{name}_bucket{{le=+Inf}}"] == samples[f"{name}_count"] == 4
    assert samples[f"{name}_sum"] == pytest.approx(1000002.0001)


def test_the_engines_metrics_follow_without_a_clash() -> None:
    text = Metrics.of("x").render(ENGINE)
    samples = read(text)
    assert samples["vllm:num_requests_running{model_name=m}"] == 3
    assert samples["vllm:num_requests_running{model_name=n}"] == 4
    assert samples["batchfleet_in_flight"] == 0
    headings = [line.split()[:3] for line in text.splitlines() if line.startswith("#")]
    assert len(headings) == len({tuple(heading) for heading in headings})
    assert "# EOF" not in text


def test_of_the_engines_page_only_what_nobody_can_use_is_left_out() -> None:
    recorded = RECORDED.read_text(encoding="utf-8")
    there = {name.partition("{")[0] for name in read(recorded)}
    passed_on = {name.partition("{")[0] for name in read(Metrics.of("x").render(recorded))}
    left_out = there - passed_on
    useless = re.compile(r"\w+_created|http_request_duration_highr_seconds_\w+")
    assert {name for name in there if useless.fullmatch(name.replace(":", "_"))} == left_out
    assert len(left_out) > 30


def test_no_label_value_is_unknown_from_the_start() -> None:
    """A rate over a counter that appears with its first increment misses that increment."""
    metrics = Metrics.of("x")
    assert set(metrics.engine_errors_total) == set(Lost)
    pipeline_codes = {
        refusal.code
        for refusal in vars(errors).values()
        if isinstance(refusal, Refusal) and refusal.status in (429, 502, 503, 504)
    }
    assert set(metrics.requests_refused_total) == pipeline_codes


def test_every_metric_explains_itself() -> None:
    for metric in fields(Metrics):
        assert metric.metadata["help"].endswith(".")


def test_the_page_of_the_docs_is_current() -> None:
    assert main(["--check", str(PAGE)]) == 0, "run make generate"


def test_a_stale_page_is_noticed_and_written_anew(tmp_path: Path) -> None:
    page = tmp_path / "metrics.md"
    assert main(["--check", str(page)]) == 1
    page.write_text("old", encoding="utf-8")
    assert main(["--check", str(page)]) == 1
    assert main(["--write", str(page)]) == 0
    assert main(["--check", str(page)]) == 0
