"""The children that a service has: values in, objects out.

Every builder returns the whole object as server-side apply takes it.  What belongs to one revision
(ControllerRevision, ConfigMap, Deployment) carries its number in name and labels; Service,
disruption budget, network policy and monitor span all revisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchfleet_operator import engine, names
from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object
from batchfleet_operator.live import LiveSettings
from batchfleet_operator.names import Kind


def _child(
    owner: BatchInferenceService, kind: Kind, name: str, labels: dict[str, str], **body: Any
) -> Object:
    """An object that is collected with its owner; no finalizer is needed for that."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": names.KIND,
                    "name": owner.name,
                    "uid": owner.uid,
                    "controller": True,
                }
            ],
        },
        **body,
    }


def controller_revision(
    owner: BatchInferenceService,
    number: int,
    data: Object,
    *,
    stable: bool,
    failure: str | None = None,
    promoted: bool = False,
) -> Object:
    """What a revision was cut from and rendered to; ``data`` never changes once written.

    ``failure``: why it was rolled back.  ``promoted``: somebody wanted it, whatever is said of it.
    """
    labels = names.revision_labels(owner.name, number)
    if stable:
        labels[names.LABEL_STABLE] = "true"
    if failure is not None:
        labels[names.LABEL_FAILED] = "true"
    if promoted:
        labels[names.LABEL_PROMOTED] = "true"
    name = names.revision_name(owner.name, number)
    made = _child(owner, names.CONTROLLER_REVISION, name, labels, revision=number, data=data)
    if failure is not None:
        made["metadata"]["annotations"] = {names.ANNOTATION_FAILURE: failure}
    return made


def live_settings(owner: BatchInferenceService, number: int, live: LiveSettings) -> Object:
    """The file that a revision's sidecars watch."""
    return _child(
        owner,
        names.CONFIG_MAP,
        names.live_settings_name(owner.name, number),
        names.revision_labels(owner.name, number),
        data={names.LIVE_SETTINGS_KEY: live.text},
    )


def deployment(
    owner: BatchInferenceService, number: int, template: Object, replicas: int
) -> Object:
    """The pods of one revision; its template never changes, so it never rolls by itself."""
    return _child(
        owner,
        names.DEPLOYMENT,
        names.revision_name(owner.name, number),
        names.revision_labels(owner.name, number),
        spec={
            "replicas": replicas,
            "revisionHistoryLimit": 0,
            "selector": {
                "matchLabels": names.pod_selector(owner.name) | {names.LABEL_REVISION: str(number)}
            },
            "template": template,
        },
    )


def service(owner: BatchInferenceService, target_port: int) -> Object:
    """The one address of all revisions."""
    return _child(
        owner,
        names.SERVICE,
        owner.name,
        names.service_labels(owner.name),
        spec={
            "type": "ClusterIP",
            "selector": names.pod_selector(owner.name),
            "ports": [{"name": "http", "port": 80, "targetPort": target_port, "protocol": "TCP"}],
        },
    )


def disruption_budget(owner: BatchInferenceService) -> Object:
    """Node drains take one pod at a time; a pod that is broken anyway never blocks them."""
    return _child(
        owner,
        names.POD_DISRUPTION_BUDGET,
        owner.name,
        names.service_labels(owner.name),
        spec={
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": names.pod_selector(owner.name)},
        },
    )


def network_policy(
    owner: BatchInferenceService, peers: Sequence[Object] | None, config: Config
) -> Object:
    """Requests from ``peers`` (``None``: from anywhere); the admin port only from where the
    administrator says."""
    ports = [names.PORT_HTTP]
    if owner.spec.allows_bypass:
        ports.append(engine.port(owner.spec.engine))
    data = {"ports": [{"port": port, "protocol": "TCP"} for port in ports]}
    admin = {"ports": [{"port": names.PORT_ADMIN, "protocol": "TCP"}]}
    ingress = [data] if peers is None else _only_from(peers, data)
    return _child(
        owner,
        names.NETWORK_POLICY,
        owner.name,
        names.service_labels(owner.name),
        spec={
            "podSelector": {"matchLabels": names.pod_selector(owner.name)},
            "policyTypes": ["Ingress"],
            "ingress": ingress + _only_from(config.network_policy.admin_from, admin),
        },
    )


def _only_from(peers: Sequence[Object], rule: Object) -> list[Object]:
    """No rule where there are no peers: an empty "from" would mean anybody."""
    return [rule | {"from": list(peers)}] if peers else []


def _copied(pod_label: str, label: str) -> Object:
    """A relabeling: the pod's label as a label of all its series, under a short name."""
    meta = "__meta_kubernetes_pod_label_" + "".join(c if c.isalnum() else "_" for c in pod_label)
    return {"sourceLabels": [meta], "targetLabel": label}


def pod_monitor(owner: BatchInferenceService, config: Config) -> Object:
    """One scrape target per pod: the sidecar's metrics with the engine's behind them."""
    monitoring = owner.spec.monitoring
    chosen = (monitoring.labels if monitoring else None) or {}
    labels = config.monitoring.labels | chosen | names.service_labels(owner.name)
    seconds = config.monitoring.scrape_interval_seconds
    interval = {} if seconds is None else {"interval": f"{seconds}s"}
    return _child(
        owner,
        names.POD_MONITOR,
        owner.name,
        labels,
        spec={
            "selector": {"matchLabels": names.pod_selector(owner.name)},
            "podMetricsEndpoints": [
                {
                    "port": "admin",
                    "path": "/metrics",
                    **interval,
                    # Every query, rule and picture tells series apart by these two.
                    "relabelings": [
                        _copied(names.LABEL_SERVICE, "service"),
                        _copied(names.LABEL_REVISION, "revision"),
                    ],
                }
            ],
        },
    )
