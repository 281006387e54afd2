"""The BatchInferenceServices that the tests apply: the simulator as an engine of type Custom.

Timing is chosen so that an answer takes long enough to be joined, or to be under way while
something happens to its pod, and a rollout still takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from e2e.support.kube import Kube, Object

MODEL = "sim"
ENGINE_PORT = 8000
_CONTROL_PORT = 8001  # on the pod's loopback: failures at run time

ARGUMENTS = (
    f"--model={MODEL}",
    f"--port={ENGINE_PORT}",
    f"--control-port={_CONTROL_PORT}",
    "--startup-seconds=1",
    "--step-ms=50",  # fast enough for a test, slow enough to be seen: 16 tokens take 0.8 s
)
_STALL = f"""
import urllib.request as web
url = "http://127.0.0.1:{_CONTROL_PORT}/faults"
web.urlopen(web.Request(url, data=b'{{"stall": true}}', method="PATCH"), timeout=5)
"""


def simulated(
    worker_image: str,
    name: str = "chat",
    *,
    args: Sequence[str] = (),
    engine: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Object:
    """A service whose engine is the simulator; ``spec`` holds further fields of the spec."""
    return {
        "apiVersion": "batchfleet.io/v1alpha1",
        "kind": "BatchInferenceService",
        "metadata": {"name": name},
        "spec": {
            "engine": {
                "type": "Custom",
                "image": worker_image,
                "command": ["batchfleet-worker", "simulate"],
                "args": [*ARGUMENTS, *args],
                "port": ENGINE_PORT,
                **(engine or {}),
            },
            # No request of a test takes longer, and a pod that is stuck is gone soon.
            "requests": {"timeoutSeconds": 30},
            "drain": {"timeoutSeconds": 30},
            # Many small pods on the one node of a small machine.
            "worker": {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}},
            **spec,
        },
    }


def stall(kube: Kube, pod: str) -> None:
    """The simulator of a pod goes on accepting requests, and computes none."""
    kube.run("exec", pod, "-c", "engine", "--", "python3", "-c", _STALL)
