"""The chart's life on a real API server: install, upgrade, roll back, uninstall, install again."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from e2e.kind import binaries
from e2e.kind.controlplane import ControlPlane
from tests.chart import chart

_TIMEOUT_SECONDS = 60
_ACCOUNT = f"system:serviceaccount:{chart.NAMESPACE}:fleet-batchfleet"
# The kinds PodMonitor and PrometheusRule are not known to this API server.
_UNKNOWN = {"podMonitor": {"enabled": False}, "rules": {"enabled": False}}
_FULL = chart.merged(chart.FULL, {"monitoring": _UNKNOWN})


class Cluster:
    """A real API server, by the two programs that an administrator uses."""

    def __init__(self, kubeconfig: Path) -> None:
        self._env = {**os.environ, "KUBECONFIG": str(kubeconfig)}

    def kubectl(self, *arguments: str, given: Any = None) -> subprocess.CompletedProcess[str]:
        return self._run("kubectl", *arguments, given=given)

    def helm(self, *arguments: str, values: Mapping[str, Any] | None = None) -> str:
        words = ["--namespace", chart.NAMESPACE]
        if values is not None:
            words += ["--values", "-"]
        done = self._run("helm", *arguments, *words, given=values)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def operator(self) -> chart.Object:
        """The operator's Deployment as the API server has it."""
        asked = ("get", "deployment", "fleet-batchfleet", "-n", chart.NAMESPACE, "-o", "json")
        found: chart.Object = json.loads(self.kubectl(*asked).stdout)
        return found

    def _run(self, program: str, *arguments: str, given: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(binaries.path(program)), *arguments],
            input="" if given is None else json.dumps(given),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            env=self._env,
            check=False,
        )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ControlPlane() as control_plane:
        cluster = Cluster(control_plane.kubeconfig)
        for name in (chart.NAMESPACE, "team-a", "team-b"):
            labels = {"pod-security.kubernetes.io/enforce": "restricted"}
            namespace = {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name, "labels": labels},
            }
            made = cluster.kubectl("create", "-f", "-", given=namespace)
            assert made.returncode == 0, made.stderr
        yield cluster


@pytest.fixture
def installed(cluster: Cluster) -> Iterator[Cluster]:
    cluster.helm("install", chart.RELEASE, str(chart.FOLDER), values={})
    yield cluster
    cluster.helm("uninstall", chart.RELEASE, "--wait")


@pytest.mark.parametrize("values", [{}, _FULL, chart.NAMESPACED])
def test_the_api_server_knows_every_field(cluster: Cluster, values: dict[str, Any]) -> None:
    objects = {"apiVersion": "v1", "kind": "List", "items": chart.render(values)}
    checked = cluster.kubectl(
        *("apply", "--dry-run=server", "--validate=strict", "--filename", "-"), given=objects
    )
    assert checked.returncode == 0, checked.stderr


def _pod(values: dict[str, Any]) -> chart.Object:
    template = chart.one(chart.render(values), "Deployment")["spec"]["template"]
    metadata = {**template["metadata"], "generateName": "probe-", "namespace": chart.NAMESPACE}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


@pytest.mark.parametrize("values", [{}, _FULL, chart.NAMESPACED])
def test_the_pod_is_admitted_where_pod_security_is_restricted(
    installed: Cluster, values: dict[str, Any]
) -> None:
    tried = installed.kubectl("create", "--dry-run=server", "-f", "-", given=_pod(values))
    assert tried.returncode == 0, tried.stderr


def test_pod_security_would_refuse_a_pod_that_may_be_root(installed: Cluster) -> None:
    root = _pod({"podSecurityContext": {"runAsNonRoot": None}})
    tried = installed.kubectl("create", "--dry-run=server", "-f", "-", given=root)
    assert "violates PodSecurity" in tried.stderr


@pytest.mark.parametrize(
    ("verb", "resource", "where", "answer"),
    [
        ("create", "deployments.apps", "team-a", "yes"),
        ("watch", "batchinferenceservices.batchfleet.io", "team-a", "yes"),
        ("update", "leases.coordination.k8s.io", chart.NAMESPACE, "yes"),
        ("update", "leases.coordination.k8s.io", "team-a", "no"),
        ("get", "secrets", "team-a", "no"),
        ("delete", "pods", "team-a", "yes"),
        ("create", "pods", "team-a", "no"),
        ("get", "namespaces", "team-a", "yes"),
        ("patch", "batchinferenceservices.batchfleet.io", "team-a", "no"),
    ],
)
def test_what_the_operator_may_do(
    installed: Cluster, verb: str, resource: str, where: str, answer: str
) -> None:
    asked = installed.kubectl("auth", "can-i", verb, resource, "-n", where, "--as", _ACCOUNT)
    assert asked.stdout.strip() == answer


def test_upgrade_and_rollback_lead_back_to_the_same_operator(installed: Cluster) -> None:
    first = installed.operator()["spec"]
    installed.helm("upgrade", chart.RELEASE, str(chart.FOLDER), values=_FULL)
    assert installed.operator()["spec"] != first
    installed.helm("rollback", chart.RELEASE, "1")
    assert installed.operator()["spec"] == first


def test_services_survive_an_uninstallation_and_the_next_release_finds_them(
    cluster: Cluster,
) -> None:
    cluster.helm("install", chart.RELEASE, str(chart.FOLDER), values={})
    crd = ("get", "crd", "batchinferenceservices.batchfleet.io", "-o", "jsonpath={.metadata.uid}")
    before = cluster.kubectl(*crd).stdout
    assert before
    cluster.helm("uninstall", chart.RELEASE, "--wait")
    cluster.helm("install", chart.RELEASE, str(chart.FOLDER), values={})
    assert cluster.kubectl(*crd).stdout == before
    cluster.helm("uninstall", chart.RELEASE, "--wait")


def test_a_second_release_for_other_namespaces_stands_beside_the_first(installed: Cluster) -> None:
    beside = chart.merged(chart.NAMESPACED, {"crds": {"install": False}})
    installed.helm("install", "other", str(chart.FOLDER), values=beside)
    installed.helm("uninstall", "other", "--wait")
    assert installed.operator()["metadata"]["name"] == "fleet-batchfleet"


def test_a_release_that_keeps_nothing_leaves_nothing(cluster: Cluster) -> None:
    values = chart.merged(_FULL, {"crds": {"keep": False}})
    cluster.helm("install", chart.RELEASE, str(chart.FOLDER), values=values)
    kinds = {f"{each['kind']}.{_group(each)}".rstrip(".") for each in chart.render(values)}
    asked = ("get", ",".join(sorted(kinds)), "--all-namespaces", "-o", "name")
    ours = ("--selector", f"app.kubernetes.io/instance={chart.RELEASE}")
    assert len(cluster.kubectl(*asked, *ours).stdout.splitlines()) >= 10
    cluster.helm("uninstall", chart.RELEASE, "--wait")
    left = cluster.kubectl(*asked, *ours)
    assert (left.returncode, left.stdout) == (0, "")
    crd = cluster.kubectl("get", "crd", "batchinferenceservices.batchfleet.io")
    assert "NotFound" in crd.stderr


def _group(item: chart.Object) -> str:
    """The API group, as kubectl wants it behind a kind."""
    group, slash, _ = item["apiVersion"].partition("/")
    return group if slash else ""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, ["names no registry", "Without monitoring.prometheus.url"]),
        (
            {
                "image": {"repository": "example.com/operator"},
                "workerImage": {"repository": "example.com/worker"},
                "monitoring": {"prometheus": {"url": "http://prometheus:9090"}},
            },
            [],
        ),
    ],
)
def test_who_installs_is_told_what_is_not_set_up(
    cluster: Cluster, values: dict[str, Any], said: list[str]
) -> None:
    asked = ("install", "noted", str(chart.FOLDER), "--dry-run=client")
    notes = cluster.helm(*asked, values=values).partition("NOTES:")[2]
    assert "kubectl -n batchfleet-system rollout status deployment/noted-batchfleet" in notes
    for words in ("names no registry", "Without monitoring.prometheus.url"):
        assert (words in notes) is (words in said)
