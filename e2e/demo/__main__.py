"""`make demo`: from nothing to real completions through a merging sidecar, and the proof of it.

Every step says what it does and how long it took.  The cluster stays for a closer look; a second
run takes it up again.  Ends with an error when an answer is missing, or when Prometheus and the
clients do not agree on what was merged.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from e2e.demo import report
from e2e.demo.automation import hand_over, take_back
from e2e.demo.measure import ask_crowd, compare_latency
from e2e.kind import cluster as kind_cluster
from e2e.kind import steps
from e2e.support import prometheus
from e2e.support.cluster import Cluster, start_kind
from e2e.support.fleet import Fleet
from e2e.support.kube import KubeError
from e2e.support.load import start_clients
from e2e.support.release import NAMESPACE, Release, values
from e2e.support.services import ENGINE_PORT, MODEL, simulated

CLUSTER = "batchfleet"
SERVICE = "quickstart"
QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.yaml"
QUICKSTART_MODEL = "tiny"  # its servedModelName
READY_SECONDS = 300

MERGED = "batchfleet_requests_merged_total"
ANSWERED = "vllm:request_success_total"


class DemoError(Exception):
    """The fleet did not do what the demo is there to show."""


@dataclass(frozen=True)
class Scene:
    """All that the last steps need."""

    cluster: Cluster
    fleet: Fleet
    model: str


def set_up(engine: str) -> Scene:
    """The first steps: each finds what an earlier run left."""
    extras = ("prometheus", "vllm") if engine == "vllm" else ("prometheus",)
    with report.numbered("a Kubernetes cluster with our images"):
        cluster = start_kind(CLUSTER, extras)
    kube = cluster.kube
    with report.numbered("helm install the operator"):
        Release(kube.at(NAMESPACE), cluster.helm, values(cluster.images)).install()
    with report.numbered("Prometheus, and a pod to send requests from"):
        prometheus.install(kube, cluster.images.prometheus)
        start_clients(kube, cluster.images.worker)
    fleet = Fleet(kube, SERVICE)
    if engine == "vllm":
        with report.numbered(f"kubectl apply -f examples/{QUICKSTART.name}: real vLLM on the CPU"):
            kube.run("apply", "-f", str(QUICKSTART))
            take_back(fleet)
            fleet.wait_ready(1, within_seconds=READY_SECONDS)
        return Scene(cluster, fleet, QUICKSTART_MODEL)
    with report.numbered("kubectl apply: the simulator in place of vLLM"):
        batching = {"maxBatchSize": 16}  # the quickstart's
        kube.apply(
            simulated(cluster.images.worker, SERVICE, args=["--step-ms=10"], batching=batching)
        )
        take_back(fleet)
        fleet.wait_ready(1, within_seconds=READY_SECONDS)
    return Scene(cluster, fleet, MODEL)


def show(scene: Scene) -> None:
    """The last steps: ask, count on both sides, compare, and print."""
    kube, fleet = scene.cluster.kube, scene.fleet
    with report.numbered("many clients with one question, and others with their own"):
        before = {name: fleet.settled(name) for name in (MERGED, ANSWERED)}
        crowd = ask_crowd(kube, fleet, scene.model)
        if crowd.failures:
            raise DemoError("requests failed:\n  " + "\n  ".join(crowd.failures[:5]))
        if crowd.merged == 0:
            raise DemoError("nothing was merged")
        wanted = {MERGED: crowd.merged, ANSWERED: len(crowd.answers) - crowd.merged}
        for name, count in wanted.items():
            prometheus.agrees(kube, prometheus.of(fleet, name), before[name] + count)
    with report.numbered("one client, nothing to merge: through the sidecar, and past it"):
        (pod, *_) = fleet.pods()
        through, past = compare_latency(fleet, pod.name, scene.model, ENGINE_PORT)
    with report.numbered("kubectl patch: autoscaling, and a rule that watches"):
        told = hand_over(fleet)
    report.results(crowd, through, past)
    report.automation(told)
    report.listing(kube.run("get", "bis", fleet.name))


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", choices=("vllm", "sim"), default="vllm")
    parser.add_argument("--down", action="store_true", help="remove all that the demo started")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.down:
            kind_cluster.down(CLUSTER)
            return 0
        scene = set_up(options.engine)
        show(scene)
    except KeyboardInterrupt:
        print("\nStopped. `make demo-down` removes what runs until now.", file=sys.stderr)
        return 130
    except (steps.SetupError, KubeError, AssertionError, DemoError) as fault:
        print(f"\n{fault}\n\n`make demo-down` removes what was started.", file=sys.stderr)
        return 1
    report.farewell(scene.cluster.kube, scene.fleet, scene.model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
