"""``plan --all``: what an upgrade would change, asked of a cluster without changing it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.kube import Kube
from tests.support.operator_process import OperatorProcess
from tests.support.services import condition, service

COMMAND = [sys.executable, "-m", "batchfleet_operator", "plan", "--all"]


def survey(kube: Kube, namespace: str, *arguments: str) -> str:
    done = subprocess.run(
        [*COMMAND, "--namespace", namespace, *arguments],
        env=os.environ | {"KUBECONFIG": str(kube.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_tells_changes_and_makes_none(
    kube: Kube, namespace: str, operator: OperatorProcess, tmp_path: Path
) -> None:
    assert survey(kube, namespace) == "no services\n"
    kube.apply(service(namespace))
    eventually(lambda: condition(kube, namespace, "Progressing") == ("True", "RolledOut"))
    config = operator.config
    eventually(
        lambda: survey(kube, namespace, "--config", config) == f"{namespace}/chat: no change\n"
    )

    operator.stop()
    kube.apply(service(namespace, replicas=3))
    kube.delete("PodDisruptionBudget", namespace, "chat")
    told = survey(kube, namespace, "--config", config)
    assert f"{namespace}/chat:\n" in told
    assert "create PodDisruptionBudget chat" in told
    assert "change Deployment chat-1: spec.replicas: 1 -> 3" in told
    assert kube.need("Deployment", namespace, "chat-1")["spec"]["replicas"] == 1

    # Other defaults are for what is cut from now on: a new image alone restarts nothing.
    newer = tmp_path / "newer.yaml"
    newer.write_text("images: {vllm: 'vllm/vllm-openai:newer', worker: 'batchfleet-worker:newer'}")
    assert "image" not in survey(kube, namespace, "--config", str(newer))
