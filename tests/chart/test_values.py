"""What a user sets: every value is explained, does something, and is refused when misspelt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart import chart

_VALUES: dict[str, Any] = yaml.safe_load((chart.FOLDER / "values.yaml").read_text())
_SCHEMA: dict[str, Any] = json.loads((chart.FOLDER / "values.schema.json").read_text())
_DIGEST = "sha256:" + "0" * 64
_MONITORED = {"monitoring": {"podMonitor": {"enabled": True}}}
_PICTURED: dict[str, Any] = {"monitoring": {"dashboards": {"enabled": True}}}
_WEBHOOK: dict[str, Any] = {"monitoring": {"webhook": {"enabled": True}}}
_ASKED: dict[str, Any] = {"monitoring": {"prometheus": {"url": "http://prometheus:9090"}}}
_SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}

# For each value another one, and what must be set for it to matter.
_OTHER: dict[str, tuple[Any, dict[str, Any]]] = {
    "image.repository": ("example.com/operator", {}),
    "image.tag": ("dev", {}),
    "image.digest": (_DIGEST, {}),
    "image.pullPolicy": ("Always", {}),
    "workerImage.repository": ("example.com/worker", {}),
    "workerImage.tag": ("dev", {}),
    "workerImage.digest": (_DIGEST, {}),
    "vllmImage.repository": ("example.com/vllm", {}),
    "vllmImage.tag": ("v0", {}),
    "vllmImage.digest": (_DIGEST, {}),
    "imagePullSecrets": ([{"name": "registry"}], {}),
    "replicas": (2, {}),
    "watch.namespaces": (["one"], {}),
    "serviceDefaults.podTemplate": ({"spec": {"nodeSelector": {"gpu": "yes"}}}, {}),
    "serviceDefaults.imagePullSecrets": ([{"name": "registry"}], {}),
    "serviceDefaults.httpProxy": ("http://proxy", {}),
    "serviceDefaults.httpsProxy": ("http://proxy", {}),
    "serviceDefaults.noProxy": (".cluster.local", {}),
    "serviceDefaults.hfEndpoint": ("https://hub.example.com", {}),
    "monitoring.labels": ({"release": "prometheus"}, {}),
    "monitoring.scrapeIntervalSeconds": (5, {}),
    "monitoring.prometheus.url": ("https://prometheus.example.com/team", {}),
    "monitoring.prometheus.credentialsSecret": ("prometheus", _ASKED),
    "monitoring.prometheus.tickSeconds": (1, _ASKED),
    "monitoring.prometheus.timeoutSeconds": (5, _ASKED),
    "monitoring.prometheus.maxAgeSeconds": (5, _ASKED),
    "monitoring.prometheus.seriesLabels": ({"cluster": "one"}, _ASKED),
    "monitoring.prometheus.allowQueries": (True, _ASKED),
    "monitoring.prometheus.allowSources": (True, {}),
    "monitoring.podMonitor.enabled": (True, {}),
    "monitoring.podMonitor.interval": ("15s", _MONITORED),
    "monitoring.rules.enabled": (True, {}),
    "monitoring.dashboards.enabled": (True, {}),
    "monitoring.dashboards.labels.grafana_dashboard": ("yes", _PICTURED),
    "monitoring.webhook.enabled": (True, {}),
    "monitoring.webhook.from": ([{"podSelector": {}}], _WEBHOOK),
    "networkPolicy.enabled": (False, {}),
    "networkPolicy.adminFrom": ([{"podSelector": {}}], {}),
    "crds.install": (False, {}),
    "crds.keep": (False, {}),
    "rbac.create": (False, {}),
    "rbac.aggregate": (False, {}),
    "serviceAccount.create": (False, {}),
    "serviceAccount.name": ("other", {}),
    "serviceAccount.annotations": ({"note": "text"}, {}),
    "resources.requests.cpu": ("1", {}),
    "resources.requests.memory": ("1Gi", {}),
    "resources.limits.memory": ("2Gi", {}),
    "podSecurityContext.runAsNonRoot": (None, {}),
    "podSecurityContext.runAsUser": (None, {}),
    "podSecurityContext.runAsGroup": (None, {}),
    "podSecurityContext.seccompProfile.type": ("Localhost", {}),
    "securityContext.allowPrivilegeEscalation": (True, {}),
    "securityContext.readOnlyRootFilesystem": (False, {}),
    "securityContext.capabilities.drop": ([], {}),
    "extraEnv": ([{"name": "HTTPS_PROXY", "value": "http://proxy"}], {}),
    "podAnnotations": ({"note": "text"}, {}),
    "podLabels": ({"team": "ml"}, {}),
    "nodeSelector": ({"kubernetes.io/os": "linux"}, {}),
    "tolerations": ([{"operator": "Exists"}], {}),
    "affinity": ({"nodeAffinity": {}}, {}),
    "topologySpreadConstraints": ([_SPREAD], {}),
    "priorityClassName": ("system-cluster-critical", {}),
    "nameOverride": ("other", {}),
    "fullnameOverride": ("other", {}),
}


def _leaves(values: dict[str, Any], above: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield above + key


def _uncommented(node: yaml.MappingNode, lines: list[str]) -> Iterator[str]:
    for key, value in node.value:
        line = key.start_mark.line
        if line == 0 or not lines[line - 1].lstrip().startswith("#"):
            yield f"{key.value} in line {line + 1}"
        if isinstance(value, yaml.MappingNode):
            yield from _uncommented(value, lines)


def _closed_objects(schema: dict[str, Any], above: str = "") -> Iterator[str]:
    """Paths of all objects in the schema whose fields it names."""
    for key, value in schema.get("properties", {}).items():
        if "properties" in value:
            yield above + key
            yield from _closed_objects(value, f"{above}{key}.")


def test_every_value_is_explained_in_the_line_above_it() -> None:
    text = (chart.FOLDER / "values.yaml").read_text()
    tree = yaml.compose(text)
    assert isinstance(tree, yaml.MappingNode)
    assert list(_uncommented(tree, text.splitlines())) == []


def test_the_table_of_other_values_is_complete() -> None:
    assert list(_leaves(_VALUES)) == list(_OTHER)


@pytest.mark.parametrize("path", _OTHER)
def test_every_value_does_something(path: str) -> None:
    value, given = _OTHER[path]
    changed = chart.merged(given, chart.nested(path, value))
    assert chart.render(changed) != chart.render(given)


@pytest.mark.parametrize("path", ["", *_closed_objects(_SCHEMA)])
def test_a_misspelt_value_is_refused(path: str) -> None:
    misspelt = f"{path}.misspelt" if path else "misspelt"
    with pytest.raises(chart.ValuesError, match="misspelt"):
        chart.render(chart.nested(misspelt, "value"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("image.repository", ""),
        ("image.tag", "has space"),
        ("image.digest", "sha256:short"),
        ("image.pullPolicy", "Sometimes"),
        ("vllmImage.tag", ""),
        ("imagePullSecrets", ["registry"]),
        ("replicas", 17),
        ("replicas", "1"),
        ("watch.namespaces", "team-a"),
        ("watch.namespaces", ["Team_A"]),
        ("watch.namespaces", ["a", "a"]),
        ("serviceDefaults.podTemplate", {"containers": []}),
        ("serviceDefaults.hfEndpoint", "hub.example.com"),
        ("monitoring.labels", {"release": 1}),
        ("monitoring.prometheus.url", "prometheus:9090"),
        ("monitoring.prometheus.tickSeconds", 0),
        ("monitoring.podMonitor.interval", "30"),
        ("networkPolicy.adminFrom", [{}]),
        ("networkPolicy.adminFrom", [{"podselector": {}}]),
        ("crds.install", "yes"),
        ("extraEnv", [{"value": "nameless"}]),
        ("tolerations", [{"keys": "gpu"}]),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(path: str, value: Any) -> None:
    with pytest.raises(chart.ValuesError, match="values don't meet the specifications"):
        chart.render(chart.nested(path, value))


def test_what_the_schema_allows_is_in_values_yaml() -> None:
    def missing(schema: dict[str, Any], values: dict[str, Any], above: str = "") -> Iterator[str]:
        for key, value in schema["properties"].items():
            if key not in values:
                yield above + key
            elif "properties" in value and values[key]:
                yield from missing(value, values[key], f"{above}{key}.")

    of_helm = ["global"]
    of_kubernetes = ["resources.claims"]
    assert list(missing(_SCHEMA, _VALUES)) == of_helm + of_kubernetes
