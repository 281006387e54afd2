"""What the chart makes of its values, as a cluster's administrator would check it."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from batchfleet_operator.config import Config
from tests.chart import chart

_CRD_FILES = sorted((chart.FOLDER / "files/crds").glob("*.yaml"))
_NAME = f"{chart.RELEASE}-batchfleet"
_EVERY_VERB = ["get", "list", "watch", "create", "patch", "delete"]
_FLEET_RIGHTS = {
    ("batchfleet.io", "batchinferenceservices"): ["get", "list", "watch"],
    ("batchfleet.io", "batchinferenceservices/status"): ["update"],
    ("apps", "deployments"): _EVERY_VERB,
    ("apps", "controllerrevisions"): _EVERY_VERB,
    ("", "services"): _EVERY_VERB,
    ("", "configmaps"): _EVERY_VERB,
    ("policy", "poddisruptionbudgets"): _EVERY_VERB,
    ("networking.k8s.io", "networkpolicies"): _EVERY_VERB,
    ("monitoring.coreos.com", "podmonitors"): ["get", "list", "create", "patch", "delete"],
    ("", "pods"): ["get", "list", "watch", "patch", "delete"],
    ("", "namespaces"): ["get"],
    ("", "events"): ["get", "create", "patch"],
}


def _rights(role: chart.Object) -> dict[tuple[str, str], list[str]]:
    return {
        (group, resource): rule["verbs"]
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def _pod(objects: list[chart.Object]) -> chart.Object:
    template: chart.Object = chart.one(objects, "Deployment")["spec"]["template"]
    return template


def _config(objects: list[chart.Object]) -> Config:
    written = yaml.safe_load(chart.one(objects, "ConfigMap", _NAME)["data"]["config.yaml"])
    return Config.parse(written)


@pytest.mark.parametrize("values", [{}, chart.FULL, chart.NAMESPACED])
def test_helm_lint_has_nothing_to_say(values: dict[str, Any]) -> None:
    chart.helm("lint", "--strict", chart.FOLDER, values=values)


@pytest.mark.parametrize("values", [{}, chart.FULL, chart.NAMESPACED])
def test_no_object_is_rendered_twice(values: dict[str, Any]) -> None:
    names = [
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
        for item in chart.render(values)
    ]
    assert len(names) == len(set(names))


def test_the_operator_has_exactly_the_rights_it_uses() -> None:
    objects = chart.render({"rbac": {"aggregate": False}})
    assert _rights(chart.one(objects, "ClusterRole")) == _FLEET_RIGHTS
    assert _rights(chart.one(objects, "Role")) == {
        ("coordination.k8s.io", "leases"): ["get", "create", "update"]
    }


def test_the_operators_page_says_all_of_them() -> None:
    page = (chart.FOLDER.parents[1] / "docs" / "operator.md").read_text()
    page = page.partition("## What the operator may do")[2]
    rows = re.findall(r"^\| (core|[a-z0-9.]+) \| ([a-z/, ]+) \| ([a-z, ]+) \|", page, re.MULTILINE)
    assert rows.pop(0) == ("group", "resource", "verbs")
    told = {
        ("" if group == "core" else group, resource): verbs.split(", ")
        for group, resources, verbs in rows
        for resource in resources.split(", ")
    }
    assert told == _FLEET_RIGHTS | {("", "secrets"): ["get"]}


def test_only_who_allows_services_a_prometheus_of_their_own_gives_the_right_to_read_secrets() -> (
    None
):
    for values in ({}, chart.NAMESPACED):
        allowed = values | {"monitoring": {"prometheus": {"allowSources": True}}}
        kind = "Role" if values else "ClusterRole"
        roles = [
            _rights(item)
            for item in chart.of_kind(chart.render(allowed), kind)
            if ("", "pods") in _rights(item)
        ]
        assert roles
        for rights in roles:
            assert rights == _FLEET_RIGHTS | {("", "secrets"): ["get"]}


def test_the_credentials_for_prometheus_are_mounted_where_the_operator_reads_them() -> None:
    objects = chart.render(chart.FULL)
    directory = _config(objects).monitoring.prometheus.credentials_directory
    pod = _pod(objects)["spec"]
    (volume,) = [
        v["name"] for v in pod["volumes"] if v.get("secret") == {"secretName": "prometheus"}
    ]
    (container,) = pod["containers"]
    assert {"name": volume, "mountPath": directory, "readOnly": True} in container["volumeMounts"]


def test_bindings_name_the_operators_service_account_and_a_role_that_exists() -> None:
    for values in ({}, chart.NAMESPACED, {"serviceAccount": {"name": "other"}}):
        objects = chart.render(values)
        account = chart.one(objects, "ServiceAccount")["metadata"]
        roles = {
            (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
            for kind in ("Role", "ClusterRole")
            for item in chart.of_kind(objects, kind)
        }
        bindings = [
            *chart.of_kind(objects, "RoleBinding"),
            *chart.of_kind(objects, "ClusterRoleBinding"),
        ]
        assert bindings
        for binding in bindings:
            reference, namespace = binding["roleRef"], binding["metadata"].get("namespace")
            assert (reference["kind"], namespace, reference["name"]) in roles
            (subject,) = binding["subjects"]
            assert subject == {
                "kind": "ServiceAccount",
                "name": account["name"],
                "namespace": account["namespace"],
            }
        assert _pod(objects)["spec"]["serviceAccountName"] == account["name"]


def test_a_list_of_namespaces_takes_the_place_of_cluster_wide_rights() -> None:
    objects = chart.render(chart.NAMESPACED)
    fleet_roles = [
        item for item in chart.of_kind(objects, "Role") if _rights(item) == _FLEET_RIGHTS
    ]
    assert [item["metadata"]["namespace"] for item in fleet_roles] == ["team-a", "team-b"]
    assert chart.of_kind(objects, "ClusterRoleBinding") == []
    # What is left of ClusterRoles is for people, and bound to nobody by us.
    assert {item["metadata"]["name"] for item in chart.of_kind(objects, "ClusterRole")} == {
        "fleet-batchfleet-view",
        "fleet-batchfleet-edit",
        "fleet-batchfleet-admin",
    }
    (container,) = _pod(objects)["spec"]["containers"]
    assert container["args"][-2:] == ["--namespace=team-a", "--namespace=team-b"]


def test_people_who_may_view_or_edit_a_namespace_may_view_or_edit_its_services() -> None:
    rights = {}
    for role in ("view", "edit", "admin"):
        found = chart.one(chart.render(), "ClusterRole", f"fleet-batchfleet-{role}")
        label = f"rbac.authorization.k8s.io/aggregate-to-{role}"
        assert found["metadata"]["labels"][label] == "true"
        rights[role] = _rights(found)
    service = ("batchfleet.io", "batchinferenceservices")
    assert rights["view"][service] == ["get", "list", "watch"]
    assert "delete" in rights["edit"][service]
    assert rights["edit"]["batchfleet.io", "batchinferenceservices/scale"] == ["update", "patch"]
    assert all(group == "batchfleet.io" for role in rights.values() for group, _ in role)


def test_the_definition_is_the_generated_one() -> None:
    definitions = chart.of_kind(chart.render({"crds": {"keep": False}}), "CustomResourceDefinition")
    generated = [chart.load(path.read_text())[0] for path in _CRD_FILES]
    assert definitions == generated
    assert definitions


def test_the_definition_is_kept_when_the_release_goes_unless_told_otherwise() -> None:
    kept = chart.one(chart.render(), "CustomResourceDefinition")
    assert kept["metadata"].pop("annotations")["helm.sh/resource-policy"] == "keep"
    bare = chart.one(chart.render({"crds": {"keep": False}}), "CustomResourceDefinition")
    bare["metadata"].pop("annotations", None)
    assert kept == bare


def test_the_definition_can_be_left_to_somebody_else() -> None:
    objects = chart.render({"crds": {"install": False}})
    assert chart.of_kind(objects, "CustomResourceDefinition") == []


def test_the_operator_understands_the_file_that_the_chart_writes() -> None:
    config = _config(chart.render(chart.FULL))
    assert config.service_defaults.as_json() == chart.FULL["serviceDefaults"]
    assert config.monitoring.labels == {"release": "prometheus"}
    assert config.network_policy.enabled


def test_what_is_not_set_stays_the_operators_own_default() -> None:
    written, bare = _config(chart.render()), Config()
    assert written.service_defaults == bare.service_defaults
    assert written.images == bare.images


@pytest.mark.parametrize("project", ["operator", "worker"])
def test_the_chart_installs_the_version_it_was_released_with(project: str) -> None:
    description = tomllib.loads((chart.FOLDER.parents[1] / project / "pyproject.toml").read_text())
    released = yaml.safe_load((chart.FOLDER / "Chart.yaml").read_text())
    assert released["appVersion"] == released["version"] == description["project"]["version"]


def test_a_digest_wins_over_a_tag() -> None:
    digest = "sha256:" + "a" * 64
    image = {"repository": "example.com/x", "tag": "ignored", "digest": digest}
    objects = chart.render({"image": image, "workerImage": image, "vllmImage": image})
    expected = f"example.com/x@{digest}"
    assert _pod(objects)["spec"]["containers"][0]["image"] == expected
    assert _config(objects).images.worker == expected
    assert _config(objects).images.vllm == expected


def test_the_operator_may_always_reach_the_workers_admin_port() -> None:
    closed: chart.Object = {"networkPolicy": {"adminFrom": []}}
    for values in ({}, closed):
        objects = chart.render(values)
        peer = _config(objects).network_policy.admin_from[0]
        labels = _pod(objects)["metadata"]["labels"]
        assert peer["podSelector"]["matchLabels"].items() <= labels.items()
        namespace = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        assert namespace == chart.one(objects, "Deployment")["metadata"]["namespace"]


def test_nobody_reaches_the_operators_metrics_when_no_peer_is_named() -> None:
    policy = chart.one(chart.render({"networkPolicy": {"adminFrom": []}}), "NetworkPolicy")
    assert "ingress" not in policy["spec"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]


def test_alertmanager_has_a_door_only_where_it_is_asked_for() -> None:
    bare = chart.render()
    assert chart.of_kind(bare, "Service") == []
    assert "--webhook-port=8083" not in _pod(bare)["spec"]["containers"][0]["args"]
    objects = chart.render({"monitoring": {"webhook": {"enabled": True}}})
    (port,) = chart.one(objects, "Service")["spec"]["ports"]
    (container,) = _pod(objects)["spec"]["containers"]
    assert {each["name"]: each["containerPort"] for each in container["ports"]}["webhook"] == 8083
    assert port["targetPort"] == "webhook"
    rules = chart.one(objects, "NetworkPolicy")["spec"]["ingress"]
    assert [rule["from"] for rule in rules if rule["ports"][0]["port"] == "webhook"]


@pytest.mark.parametrize(
    ("values", "restarts"),
    [
        ({"serviceDefaults": {"httpProxy": "http://proxy"}}, True),
        ({"workerImage": {"tag": "dev"}}, True),
        ({"monitoring": {"labels": {"release": "prometheus"}}}, True),
        ({"replicas": 2}, False),
        ({"rbac": {"aggregate": False}}, False),
        ({"crds": {"keep": False}}, False),
    ],
)
def test_the_operator_restarts_when_its_file_changes_and_only_then(
    values: dict[str, Any], restarts: bool
) -> None:
    assert (_pod(chart.render(values)) != _pod(chart.render())) is restarts


def test_a_selector_never_changes() -> None:
    def selector(values: dict[str, Any]) -> Any:
        return chart.one(chart.render(values), "Deployment")["spec"]["selector"]

    assert selector({"nameOverride": "other", "podLabels": {"team": "ml"}}) == selector({})


def test_a_disruption_budget_needs_a_second_pod() -> None:
    assert chart.of_kind(chart.render(), "PodDisruptionBudget") == []
    budget = chart.one(chart.render({"replicas": 2}), "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1


def test_ports_and_probes_are_those_of_the_command_line() -> None:
    (container,) = _pod(chart.render())["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert f"--health-port={ports['health']}" in container["args"]
    assert f"--metrics-port={ports['metrics']}" in container["args"]
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "health"}
    (volume,) = container["volumeMounts"]
    assert f"--config={volume['mountPath']}/config.yaml" in container["args"]
