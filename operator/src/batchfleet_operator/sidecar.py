"""From the spec to the sidecar's container: environment, probes, resources, keys.

Comes before ``pod``, which puts it in front of the engine.  What nobody asked for is left out of
the environment: a sidecar refuses variables that are newer than itself.
"""

from __future__ import annotations

import json
from decimal import Decimal

from batchfleet_operator import engine, names
from batchfleet_operator.api import Spec
from batchfleet_operator.api.access import Access
from batchfleet_operator.api.worker import Worker
from batchfleet_operator.config import Config
from batchfleet_operator.decision import Object

SETTLE_SECONDS = 10
"""How long a draining sidecar still accepts while endpoints settle (its default)."""

KILL_GRACE_SECONDS = 10
"""A probe's kill runs preStop too, which would drain a dead engine: it gets its own short grace."""

USER = 65532
RESOURCES: Object = {
    "requests": {"cpu": "100m", "memory": "128Mi"},
    "limits": {"memory": "512Mi"},
}
MEMORY_SHARE = 2
"""One part in so many of the memory limit is for bodies, replays and the cache."""

LIVE_VOLUME = "live-settings"
KEYS_VOLUME = "api-keys"

_SUFFIXES = {"m": Decimal("0.001"), "": Decimal(1), "k": Decimal(1000), "Ki": Decimal(1024)}
_SUFFIXES |= {suffix: Decimal(1000) ** n for n, suffix in enumerate("MGT", start=2)}
_SUFFIXES |= {f"{suffix}i": Decimal(1024) ** n for n, suffix in enumerate("MGT", start=2)}


def container(spec: Spec, config: Config) -> Object:
    """A native sidecar: up before the engine, gone after it."""
    worker = spec.worker
    resources = worker.resources.as_json() if worker and worker.resources else RESOURCES
    mounts = [{"name": LIVE_VOLUME, "mountPath": names.LIVE_SETTINGS_DIRECTORY, "readOnly": True}]
    if spec.access.api_keys is not None:
        mounts.append(
            {"name": KEYS_VOLUME, "mountPath": names.API_KEYS_DIRECTORY, "readOnly": True}
        )
    return {
        "name": names.SIDECAR,
        "image": (worker.image if worker else None) or config.images.worker,
        "args": ["sidecar"],
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "restartPolicy": "Always",
        "env": [
            # Kubernetes would put other variables in for $(NAME); $$ stays one $.
            {"name": name, "value": value.replace("$", "$$")}
            for name, value in environment(spec).items()
        ],
        "ports": [
            {"name": "http", "containerPort": names.PORT_HTTP},
            {"name": "admin", "containerPort": names.PORT_ADMIN},
        ],
        "startupProbe": probe("/livez", period=1, failures=60),
        "livenessProbe": probe("/livez", period=10, failures=6)
        | {"terminationGracePeriodSeconds": KILL_GRACE_SECONDS},
        "readinessProbe": probe("/readyz", period=2, failures=1),
        "resources": resources,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def volumes(spec: Spec, live_settings: str) -> list[Object]:
    """Volumes that the container mounts; ``live_settings`` names a ConfigMap."""
    made: list[Object] = [{"name": LIVE_VOLUME, "configMap": {"name": live_settings}}]
    keys = spec.access.api_keys
    if keys is not None:
        # Optional: the kubelet would start no pod without it, and say so only in its own events.
        secret = {"secretName": keys.secret_name, "optional": True}
        made.append({"name": KEYS_VOLUME, "secret": secret})
    return made


def environment(spec: Spec) -> dict[str, str]:
    """The sidecar's settings at start; what is unset is left to its own defaults."""
    made = {
        "BATCHFLEET_UPSTREAM": f"http://127.0.0.1:{engine.port(spec.engine)}",
        "BATCHFLEET_LIVE_SETTINGS": f"{names.LIVE_SETTINGS_DIRECTORY}/{names.LIVE_SETTINGS_KEY}",
        "BATCHFLEET_DRAIN_TIMEOUT_SECONDS": str(spec.drain_seconds),
        "BATCHFLEET_DRAIN_SETTLE_SECONDS": str(SETTLE_SECONDS),
    }
    if spec.engine.scheduling_policy == "priority":
        made["BATCHFLEET_ENGINE_PRIORITY"] = "Negate"  # ours: higher first; vLLM's: lower first
    return made | _access(spec.access) | ({} if spec.worker is None else _worker(spec.worker))


def _access(access: Access) -> dict[str, str]:
    made: dict[str, str] = {}
    if access.type != "Open":
        made["BATCHFLEET_ACCESS"] = access.type
    if access.api_keys is not None:
        made["BATCHFLEET_API_KEYS"] = names.API_KEYS_DIRECTORY
    if access.trusted_header is not None:
        made["BATCHFLEET_TENANT_HEADER"] = access.trusted_header.name
    if access.max_priority is not None:
        made["BATCHFLEET_TENANT_MAX_PRIORITY"] = str(access.max_priority)
    if access.prefix_cache is not None:
        made["BATCHFLEET_PREFIX_CACHE"] = access.prefix_cache
    return made


def _worker(worker: Worker) -> dict[str, str]:
    made: dict[str, str] = {}
    limits = worker.resources.limits if worker.resources else None
    if limits is not None and limits.memory is not None:
        made["BATCHFLEET_MEMORY_BYTES"] = str(quantity(limits.memory) // MEMORY_SHARE)
    if worker.warmup_prompts:
        prompts = json.dumps(worker.warmup_prompts, ensure_ascii=False)
        made["BATCHFLEET_WARMUP_PROMPTS"] = prompts
    if worker.access_log_percent is not None:
        made["BATCHFLEET_ACCESS_LOG_PERCENT"] = str(worker.access_log_percent)
    if worker.tracing is not None:
        made["BATCHFLEET_TRACES_ENDPOINT"] = worker.tracing.endpoint
        if worker.tracing.percent is not None:
            made["BATCHFLEET_TRACES_PERCENT"] = str(worker.tracing.percent)
    return made


def quantity(text: str) -> int:
    """A Kubernetes quantity, rounded down to a whole number: ``1.5Gi`` → 1610612736."""
    digits = text.rstrip("mkKMGTi")
    return int(Decimal(digits) * _SUFFIXES[text[len(digits) :]])


def probe(path: str, period: int, failures: int) -> Object:
    """A probe that asks the sidecar, for itself or for the engine."""
    return {
        "httpGet": {"path": path, "port": names.PORT_ADMIN},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    }
