"""examples/existing-deployment.yaml says what the sidecar understands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from batchfleet_worker import live
from batchfleet_worker.live import LiveSettings, Merging
from batchfleet_worker.settings import from_environment

EXAMPLE = Path(__file__).parents[2] / "examples" / "existing-deployment.yaml"


def manifests() -> dict[str, Any]:
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(EXAMPLE.read_text())}


def test_its_live_settings_are_good_and_only_observe() -> None:
    settings = live.parse(manifests()["ConfigMap"]["data"]["settings.json"].encode())
    assert isinstance(settings, LiveSettings)
    assert settings.merging.mode is Merging.OBSERVE


def test_its_environment_ports_and_grace_agree_with_the_settings() -> None:
    pod = manifests()["Deployment"]["spec"]["template"]["spec"]
    [sidecar] = pod["initContainers"]
    settings = from_environment({item["name"]: item["value"] for item in sidecar["env"]})
    ports = {port["name"]: port["containerPort"] for port in sidecar["ports"]}
    assert ports == {"http": settings.port, "admin": settings.admin_port}
    [mount] = sidecar["volumeMounts"]
    assert settings.live_settings == Path(mount["mountPath"]) / "settings.json"
    drain_seconds = settings.drain_settle_seconds + settings.drain_timeout_seconds
    assert pod["terminationGracePeriodSeconds"] == drain_seconds + 30
    engine_port = settings.upstream_address[1]
    assert f"--port={engine_port}" in pod["containers"][0]["args"]
