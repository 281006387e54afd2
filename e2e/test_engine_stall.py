"""The engine hangs with work in it: the kubelet restarts it promptly, and it serves again."""

from __future__ import annotations

import time

from e2e.support.fixtures import Serve
from e2e.support.fleet import Pod
from e2e.support.kube import Kube
from e2e.support.load import Load, ask, running
from e2e.support.services import MODEL, stall
from e2e.support.wait import NotYetError, until

STALL_SECONDS = 4  # the default is 120: this test has no two minutes
# Stall rule, two failed probes a second apart, 10 s of grace, start and warm-up of the engine: 20 s
# on a machine that is quiet, and less than the default rule alone on one that is not.
RESTARTED_WITHIN_SECONDS = 90

IMPATIENT = {
    "spec": {
        "initContainers": [
            {
                "name": "sidecar",
                "env": [{"name": "BATCHFLEET_ENGINE_STALL_SECONDS", "value": str(STALL_SECONDS)}],
            }
        ],
        "containers": [
            {
                "name": "engine",
                "livenessProbe": {
                    "periodSeconds": 1,
                    "failureThreshold": 2,
                    "timeoutSeconds": 5,  # a slow machine is no stall
                },
            }
        ],
    }
}


def test_a_hanging_engine_is_restarted_and_warmed(serve: Serve, clients: Kube) -> None:
    fleet = serve(podTemplate=IMPATIENT)
    (before,) = fleet.pods()
    stall(fleet.kube, before.name)

    hung = Load(fleet.url, MODEL, 2, question="hung", unique=True, timeout_seconds=120)
    began = time.monotonic()
    with running(clients, hung) as load:

        def restarted() -> Pod:
            (pod,) = fleet.pods()
            if pod.restarts["engine"] == 0 or not pod.ready:
                raise NotYetError(f"{pod}")
            return pod

        after = until(
            "engine restarted and warm", restarted, within_seconds=RESTARTED_WITHIN_SECONDS
        )
        took = time.monotonic() - began
        cut_off = load.stop()

    print(f"serving again {took:.1f} s after the stall")
    assert after.uid == before.uid
    assert after.restarts == {"engine": 1, "sidecar": 0}
    assert {one.outcome for one in cut_off.answers} == {"refused"}  # told in words, not lost
    state = fleet.state(after)
    assert state["engine"]["warm"]
    assert state["engine"]["restarts"] == 1
    assert not state["draining"]  # the engine's preStop began a drain; its return ended it
    assert ask(clients, Load(fleet.url, MODEL, 4, unique=True)).failures == []
