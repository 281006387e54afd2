"""A control plane whose nodes are simulated and whose pods have loopback addresses.

Nothing runs in those pods; where a test wants a sidecar that answers the operator, it starts one
here, at the pod's own address.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from e2e.kind.controlplane import ControlPlane
from tests.support.eventually import eventually
from tests.support.kube import Kube, Object

CRD = Path(__file__).parents[2] / "crds/batchinferenceservices.yaml"

KWOK: Object = {
    "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
    "kind": "KwokConfiguration",
    "options": {
        "cidr": "127.77.0.1/16",
        "manageAllNodes": True,
        # KWOK fills in none of its defaults when it is given a file.
        "nodeLeaseDurationSeconds": 40,
        "nodeLeaseParallelism": 4,
        "nodePlayStageParallelism": 4,
        "podPlayStageParallelism": 16,
    },
}

HURRY = ("kube-controller-manager=kube-api-qps=1000", "kube-controller-manager=kube-api-burst=2000")
"""By default the controller manager makes 20 calls a second: 5 new pods, whoever asks for them."""

WIDE = ("kube-apiserver=service-cluster-ip-range=10.64.0.0/16",)
"""By default there are addresses for 254 Services."""

ROOM = {"cpu": "1000", "memory": "4Ti", "pods": "10000", "nvidia.com/gpu": "1000"}


@contextmanager
def cluster() -> Iterator[Kube]:
    """A cluster with one large node, ready; our CRD is not there yet."""
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "kwok.yaml"
        configuration.write_text(yaml.safe_dump(KWOK))
        extra = [word for each in (*HURRY, *WIDE) for word in ("--extra-args", each)]
        with ControlPlane(extra_args=("--config", str(configuration), *extra)) as control_plane:
            kube = Kube(control_plane.kubeconfig)
            kube.create(
                {
                    "apiVersion": "v1",
                    "kind": "Node",
                    "metadata": {"name": "simulated"},
                    "status": {"allocatable": ROOM, "capacity": ROOM},
                }
            )
            yield kube


def addresses(pods: int) -> list[str]:
    """Those that so many pods are given, and some more: pods are replaced."""
    return [f"127.77.{number // 256}.{number % 256}" for number in range(1, 2 * pods + 64)]


def definition() -> Object:
    """Our CRD as it is checked in."""
    found: Object = yaml.safe_load(CRD.read_text())
    return found


def install_crd(kube: Kube, crd: Object | None = None) -> None:
    """Install ours, or one like it, and wait until it is served."""
    crd = crd or definition()
    kube.apply(crd)
    name = crd["metadata"]["name"]

    def served() -> bool:
        status = kube.need("CustomResourceDefinition", None, name).get("status", {})
        return any(
            condition["type"] == "Established" and condition["status"] == "True"
            for condition in status.get("conditions") or ()
        )

    eventually(served)
