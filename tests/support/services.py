"""Services that tests apply, and what tests read from them."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.support.kube import GROUP_VERSION, Kube, Object


def service(namespace: str, name: str = "chat", **spec: Any) -> Object:
    """A small valid service; ``spec`` is laid over it, field by field."""
    return {
        "apiVersion": GROUP_VERSION,
        "kind": "BatchInferenceService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "engine": {"type": "vLLM", "model": "Qwen/Qwen3-8B", "maxNumSeqs": 64},
            "replicas": 1,
        }
        | spec,
    }


def conditions(kube: Kube, namespace: str, name: str = "chat") -> dict[str, tuple[str, str, str]]:
    """Status, reason and message of each condition."""
    found = kube.need("BatchInferenceService", namespace, name).get("status", {})
    return {
        condition["type"]: (condition["status"], condition["reason"], condition["message"])
        for condition in found.get("conditions", ())
    }


def condition(kube: Kube, namespace: str, type_: str, name: str = "chat") -> tuple[str, str]:
    """Status and reason; empty while there is no such condition."""
    status, reason, _ = conditions(kube, namespace, name).get(type_, ("", "", ""))
    return status, reason


def pods(kube: Kube, namespace: str, name: str = "chat") -> list[Object]:
    """Pods that stay."""
    found = kube.list("Pod", namespace, f"batchfleet.io/service={name}")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def addresses(found: list[Object]) -> list[str]:
    return [pod["status"]["podIP"] for pod in found if pod["status"].get("podIP")]


def settings_hash(kube: Kube, namespace: str, revision: str = "chat-1") -> str:
    """What the revision's sidecars report once they run its live settings."""
    text = kube.need("ConfigMap", namespace, f"{revision}-live")["data"]["settings.json"]
    return hashlib.sha256(text.encode()).hexdigest()[:16]
