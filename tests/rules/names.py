"""Which metrics there are, and which ones an expression asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from batchfleet_operator.metrics import Metrics

ROOT = Path(__file__).parents[2]

FOREIGN = {
    "ALERTS",
    "up",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_GPU_UTIL",
    "container_cpu_usage_seconds_total",
    "container_memory_working_set_bytes",
    "container_network_receive_bytes_total",
    "container_network_transmit_bytes_total",
    "kube_pod_container_resource_limits",
    "kube_pod_container_status_restarts_total",
}
"""Of Prometheus itself, NVIDIA's DCGM exporter, cAdvisor and kube-state-metrics."""

OLD_VLLM = {"vllm:gpu_cache_usage_perc"}
"""Of versions before the one that was recorded."""

_WORDS = {
    *("sum", "count", "avg", "min", "max", "by", "on", "and", "or", "unless", "bool"),
    *("rate", "increase", "deriv", "histogram_quantile", "max_over_time", "min_over_time"),
    *("absent", "time", "vector", "round", "label_replace", "group_left", "Inf"),
    *("avg_over_time", "clamp_max", "clamp_min"),
}
_TEXT = re.compile(r'"[^"]*"')
_NOT_METRICS = re.compile(r"offset \w+|\{[^}]*\}|\[[^\]]*\]|\b(?:by|on|group_left) ?\([^)]*\)")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def asked(expr: str) -> set[str]:
    """Names of the metrics in an expression; a word that this does not know counts as one."""
    return set(_NAME.findall(_NOT_METRICS.sub("", _TEXT.sub('""', expr)))) - _WORDS


def known() -> set[str]:
    """Names of all series that there can be, those of histograms and counters in full."""
    page = (ROOT / "docs/metrics.md").read_text()
    table = re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.M)
    ours = {part for name, kind in table for part in _parts(name, kind)}
    recorded = (ROOT / "tests/contract/recordings/generate/metrics.txt").read_text()
    operator = Metrics("1").as_text().decode()
    return ours | set(_series(recorded)) | set(_series(operator)) | OLD_VLLM | FOREIGN


TARGET = {"namespace", "pod", "service", "revision"}
"""Labels that the PodMonitor, or the operator itself, gives to all series."""


def labels_of(metrics: set[str]) -> set[str]:
    """Labels that series of any of these have; of the foreign ones no more than their target's."""
    found = set(TARGET)
    for page in (ROOT / "docs/metrics.md", ROOT / "docs/monitoring.md"):
        for name, labels in re.findall(r"^\| `(\w+)` \| \w+ \|([^|]*)\|", page.read_text(), re.M):
            if name in metrics or any(f"{name}_{end}" in metrics for end in _ENDS):
                found |= {"le", *re.findall(r"`(\w+)`", labels)}
    return found


def _parts(name: str, kind: str) -> list[str]:
    return [f"{name}_{end}" for end in _ENDS] if kind == "histogram" else [name]


_ENDS = ("bucket", "count", "sum")


def _series(text: str) -> Iterator[str]:
    for family in text_string_to_metric_families(text):
        if family.type == "counter":
            yield f"{family.name}_total"
        else:
            yield from _parts(family.name, family.type)
        yield from (sample.name for sample in family.samples)
