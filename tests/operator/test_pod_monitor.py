"""How the pods of a service are found by Prometheus."""

from __future__ import annotations

from typing import Any

from batchfleet_operator import desired
from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.config import Config

CHAT = BatchInferenceService.of(
    {"metadata": {"name": "chat"}, "spec": {"engine": {"type": "vLLM", "model": "m"}}}
)


def endpoint(**monitoring: Any) -> dict[str, Any]:
    config = Config.parse({"monitoring": monitoring})
    (only,) = desired.pod_monitor(CHAT, config)["spec"]["podMetricsEndpoints"]
    found: dict[str, Any] = only
    return found


def test_series_carry_the_labels_that_every_query_goes_by() -> None:
    targets = {each["targetLabel"]: each["sourceLabels"] for each in endpoint()["relabelings"]}
    assert targets == {
        "service": ["__meta_kubernetes_pod_label_batchfleet_io_service"],
        "revision": ["__meta_kubernetes_pod_label_batchfleet_io_revision"],
    }


def test_how_often_pods_are_scraped_is_prometheus_own_choice_unless_it_is_said() -> None:
    assert "interval" not in endpoint()
    assert endpoint(scrapeIntervalSeconds=5)["interval"] == "5s"
