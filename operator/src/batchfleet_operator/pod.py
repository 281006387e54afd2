"""The pod of one revision: the engine behind its sidecar, with probes, drain and volumes.

Rendered once, when a revision is cut, and then stored in it: nothing here runs again for a
revision that exists, so a change of this file reaches only revisions that are cut after it.
"""

from __future__ import annotations

from batchfleet_operator import engine, names, sidecar
from batchfleet_operator.api import Spec
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object
from batchfleet_operator.merge import merge

GRACE_MARGIN_SECONDS = 30
"""For the engine's own exit after the drain."""

STARTUP_PERIOD_SECONDS = 2
STARTUP_SECONDS = 3600
"""Downloading a large model takes long; a start-up that fails exits by itself much earlier."""

SHARED_MEMORY_VOLUME = "shared-memory"

STARTUP_FAILURES = STARTUP_SECONDS // STARTUP_PERIOD_SECONDS


def template(service: str, revision: int, spec: Spec, config: Config) -> Object:
    """The pod template: ours, under the cluster's defaults, under the user's ``podTemplate``."""
    made = _rendered(service, revision, spec, config)
    for over in (config.service_defaults.pod_template, spec.pod_template):
        made = made if over is None else merge(made, over.as_json())
    return made


def images(made: Object) -> dict[str, str]:
    """Images of engine and worker in a pod template; what a user's merge took out is left out."""
    parts = {names.ENGINE: ("containers", "engine"), names.SIDECAR: ("initContainers", "worker")}
    found = {}
    for container, (where, called) in parts.items():
        containers = made["spec"].get(where)
        for each in containers if isinstance(containers, list) else []:
            if isinstance(each, dict) and each.get("name") == container and each.get("image"):
                found[called] = each["image"]
    return found


def _rendered(service: str, revision: int, spec: Spec, config: Config) -> Object:
    labels = names.revision_labels(service, revision) | {names.LABEL_NAME: names.WORKER_NAME}
    pod: Object = {
        "enableServiceLinks": False,  # a Service named "vllm" would set VLLM_PORT
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": (
            sidecar.SETTLE_SECONDS + spec.drain_seconds + GRACE_MARGIN_SECONDS
        ),
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": names.pod_selector(service)},
            }
        ],
        "initContainers": [sidecar.container(spec, config)],
        "containers": [_engine(spec, config)],
        "volumes": [
            *sidecar.volumes(spec, names.live_settings_name(service, revision)),
            {"name": SHARED_MEMORY_VOLUME, "emptyDir": {"medium": "Memory"}},
            *engine.volumes(spec.engine),
        ],
    }
    secrets = [secret.as_json() for secret in config.service_defaults.image_pull_secrets]
    if secrets:
        pod["imagePullSecrets"] = secrets
    annotations = {"kubectl.kubernetes.io/default-container": names.ENGINE}
    return {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod}


def _engine(spec: Spec, config: Config) -> Object:
    """The engine; its health is what the sidecar makes of it, its end begins with the drain."""
    made = engine.container(spec.engine, spec.gpu, config, for_clients=spec.allows_bypass)
    mounts = [{"name": SHARED_MEMORY_VOLUME, "mountPath": "/dev/shm"}]  # noqa: S108
    killed_soon = {"terminationGracePeriodSeconds": sidecar.KILL_GRACE_SECONDS}
    startup = sidecar.probe("/engine/livez", STARTUP_PERIOD_SECONDS, STARTUP_FAILURES)
    liveness = sidecar.probe("/engine/livez", period=10, failures=6)
    return made | {
        "volumeMounts": mounts + made.get("volumeMounts", []),
        "startupProbe": startup | killed_soon,
        "livenessProbe": liveness | killed_soon,
        "lifecycle": {"preStop": {"httpGet": {"path": "/drain", "port": names.PORT_ADMIN}}},
    }
