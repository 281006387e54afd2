"""The BatchInferenceServices that the tests apply: the simulator as an engine of type Custom.

Timing is chosen so that an answer takes long enough to be joined, or to be under way while
something happens to its pod, and a rollout still takes seconds.
"""

from __future__ import annotations

import json
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
# Runs in the pod, with the body of the PATCH as its argument; without one it is a DELETE.
_SWITCH = f"""
import sys, urllib.request as web
body = sys.argv[1].encode() if sys.argv[1:] else None
url, verb = "http://127.0.0.1:{_CONTROL_PORT}/faults", "PATCH" if body else "DELETE"
web.urlopen(web.Request(url, data=body, method=verb), timeout=5)
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
            # Pod by pod: the tests of judged rollouts ask for it.
            "rollout": {"strategy": "Rolling"},
            # Many small pods on the one node of a small machine.
            "worker": {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}},
            **spec,
        },
    }


def fault(kube: Kube, pod: str, **faults: Any) -> None:
    """From now on the simulator of this pod fails so: ``slowFactor``, ``errorPercent``, …"""
    _switch(kube, pod, json.dumps(faults))


def stall(kube: Kube, pod: str) -> None:
    """The simulator of a pod goes on accepting requests, and computes none."""
    fault(kube, pod, stall=True)


def heal(kube: Kube, pod: str) -> None:
    """None of its faults is left."""
    _switch(kube, pod)


def _switch(kube: Kube, pod: str, *body: str) -> None:
    kube.run("exec", pod, "-c", "engine", "--", "python3", "-c", _SWITCH, *body)
