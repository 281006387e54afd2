"""Two hundred services: how long until all of them stand, and what they cost when nothing happens.

Its own control plane, so that the figures are of this and nothing else; the operator watches the
whole cluster here, while the other tests have one for a namespace.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import simulated
from tests.support.eventually import eventually, never
from tests.support.kube import Kube
from tests.support.operator_process import OperatorProcess
from tests.support.services import service, settings_hash
from tests.support.sidecars import Sidecars

SERVICES = 200
CONVERGED_SECONDS = 180  # a bound for any machine; how long it took is printed
QUIET_SECONDS = 20
HOME = "default"


def names_that_are_ready(kube: Kube) -> set[str]:
    return {
        found["metadata"]["name"]
        for found in kube.list("BatchInferenceService", HOME)
        for condition in found.get("status", {}).get("conditions", ())
        if (condition["type"], condition["status"]) == ("Ready", "True")
    }


@pytest.mark.timeout(600)
def test_two_hundred_services(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        simulated.cluster() as kube,
        OperatorProcess(kube, tmp_path, HOME, []) as operator,
        Sidecars() as sidecars,
    ):
        eventually(lambda: operator.health().endswith("install the CRD"))
        simulated.install_crd(kube)
        operator.leads()

        def converged() -> bool:
            ready = len(names_that_are_ready(kube))
            assert ready == SERVICES, f"{ready} of {SERVICES} services are ready"
            return True

        begun = time.monotonic()
        with ThreadPoolExecutor(4) as people:
            # Bound as they are made: how fast the scheduler is, is no concern of ours.
            bound = {"spec": {"nodeName": "simulated"}}
            wanted = [service(HOME, f"s-{number}", podTemplate=bound) for number in range(SERVICES)]
            first, *others = wanted
            kube.apply(first)
            settings = eventually(lambda: settings_hash(kube, HOME, "s-0-1"))
            # Before there are pods: looking for their addresses would be the load that is measured.
            sidecars.says(simulated.addresses(SERVICES), settings)
            list(people.map(kube.apply, others))
        # Seldom: a list of everything, twenty times a second, would be the load that is measured.
        left = CONVERGED_SECONDS - (time.monotonic() - begun)
        eventually(converged, within_seconds=left, every_seconds=1)
        took, used = time.monotonic() - begun, operator.cpu_seconds()

        settled = operator.rests()
        never(lambda: operator.api_calls() != settled, for_seconds=QUIET_SECONDS, every_seconds=2)

        operator.kill()
        restarted = time.monotonic()
        operator.start()
        operator.leads()
        eventually(lambda: operator.looks() >= SERVICES, every_seconds=0.5)
        retook = time.monotonic() - restarted
        with capsys.disabled():
            print(
                f"\n{SERVICES} services: ready in {took:.1f} s, with {sum(settled.values())} API "
                f"calls and {used:.1f} s of the operator's CPU; no call in {QUIET_SECONDS} s. "
                f"A restarted operator had looked at all in {retook:.1f} s, with "
                f"{sum(operator.api_calls().values())} calls and "
                f"{operator.memory_mebibytes():.0f} MiB."
            )
