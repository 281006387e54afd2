"""One service as a test looks at it: its conditions, its pods, and what their sidecars say."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from e2e.support.kube import Kube, KubeError, Object
from e2e.support.wait import NotYetError, until

KIND = "batchinferenceservices.batchfleet.io"
CHILDREN = ",".join(
    [
        "controllerrevisions",
        "deployments",
        "replicasets",
        "pods",
        "configmaps",
        "services",
        "poddisruptionbudgets",
        "networkpolicies",
    ]
)
ADMIN_PORT = 9090

_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{.*\})? (?P<value>\S+)$")


@dataclass(frozen=True)
class Pod:
    """Equal is what nobody replaced or restarted; a probe that was late does not count."""

    name: str
    uid: str
    revision: int
    ready: bool = field(compare=False)
    leaving: bool
    restarts: dict[str, int]  # by container
    image: str  # the engine's

    @classmethod
    def of(cls, pod: Object) -> Pod:
        status = pod.get("status", {})
        told = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
        conditions = {one["type"]: one["status"] for one in status.get("conditions", ())}
        return cls(
            name=pod["metadata"]["name"],
            uid=pod["metadata"]["uid"],
            revision=int(pod["metadata"]["labels"]["batchfleet.io/revision"]),
            ready=conditions.get("Ready") == "True",
            leaving="deletionTimestamp" in pod["metadata"],
            restarts={one["name"]: one["restartCount"] for one in told},
            image=pod["spec"]["containers"][0]["image"],
        )


@dataclass(frozen=True)
class Fleet:
    """The service of this name in the namespace of ``kube``."""

    kube: Kube
    name: str

    @property
    def url(self) -> str:
        """The service's address for clients in the cluster."""
        return f"http://{self.name}.{self.kube.namespace}.svc"

    @property
    def selector(self) -> str:
        return f"batchfleet.io/service={self.name}"

    # The object -------------------------------------------------------------------------------

    def object(self) -> Object:
        return self.kube.get(KIND, self.name)

    def patch_spec(self, **spec: Any) -> None:
        """Merge fields into the spec."""
        self.kube.patch(KIND, self.name, {"spec": spec})

    def wait_for(
        self,
        condition: str,
        status: str = "True",
        *,
        within_seconds: float,
        saying: Sequence[str] = (),
    ) -> Object:
        """The condition once it has this status for the spec of now, and says all these words."""

        def look() -> Object:
            service = self.object()
            told = service.get("status", {})
            conditions: list[Object] = told.get("conditions", [])
            seen = "; ".join(f"{c['type']}={c['status']} {c['reason']}" for c in conditions)
            now = service["metadata"]["generation"]
            if told.get("observedGeneration") != now:
                raise NotYetError(f"generation {now} is not observed yet ({seen or 'no status'})")
            for one in conditions:
                if one["type"] == condition and one["status"] == status:
                    text = f"{one['reason']}: {one['message']}"
                    if all(words in text for words in saying):
                        return one
                    raise NotYetError(f"{condition}={status} says {text!r}")
            raise NotYetError(seen or "no conditions")

        what = f"{self.name}: {condition}={status}"
        return until(what, look, within_seconds=within_seconds)

    def wait_ready(self, pods: int, *, within_seconds: float = 180) -> list[Pod]:
        """Wait until the service is Ready with exactly so many pods; leaving ones do not count."""
        self.wait_for("Ready", within_seconds=within_seconds)

        def look() -> list[Pod]:
            seen = self.pods()
            if len(seen) != pods or not all(pod.ready for pod in seen):
                raise NotYetError(f"{sum(pod.ready for pod in seen)} of {len(seen)} pods are ready")
            return seen

        return until(f"{self.name}: {pods} ready pods", look, within_seconds=within_seconds)

    def wait_gone(self, uids: Collection[str], *, within_seconds: float = 120) -> None:
        """Wait until these pods are no more, their drain included."""

        def look() -> None:
            left = [pod.name for pod in self.pods(leaving=True) if pod.uid in uids]
            if left:
                raise NotYetError(f"{', '.join(left)} still there")

        until(f"{self.name}: pods gone", look, within_seconds=within_seconds)

    # The pods ---------------------------------------------------------------------------------

    def pods(self, *, leaving: bool = False) -> list[Pod]:
        """The pods by name; those that are being deleted only when asked for."""
        found = (Pod.of(pod) for pod in self.kube.list("pods", self.selector))
        return sorted((p for p in found if leaving or not p.leaving), key=lambda pod: pod.name)

    def state(self, pod: Pod) -> dict[str, Any]:
        """What the pod's sidecar says; raises NotYetError while it does not answer."""
        document: dict[str, Any] = json.loads(self._admin(pod, "/state"))
        return document

    def at_work(self) -> Pod:
        """A pod with requests under way; raises NotYetError while there is none."""
        for pod in self.pods():
            if self.state(pod)["inFlight"] > 0:
                return pod
        raise NotYetError("nothing in flight anywhere")

    def wake_kubelet(self) -> None:
        """It looks at a pod's Secrets once a minute, and at once when the pod changes."""
        for pod in self.pods():
            mark = f"e2e.batchfleet.io/looked-at={time.time()}"
            self.kube.run("annotate", "pod", pod.name, mark, "--overwrite")

    def metric(self, pod: Pod, name: str) -> float:
        """The sum of a metric's samples on the pod's page; raises NotYetError as ``state``."""
        return sum(samples(self._admin(pod, "/metrics"), name))

    def _admin(self, pod: Pod, path: str) -> str:
        try:
            return self.kube.pod_http(pod.name, ADMIN_PORT, path)
        except KubeError as fault:
            raise NotYetError(str(fault)) from fault

    def total(self, metric: str) -> float:
        """The sum of a metric over all pods."""
        return sum(self.metric(pod, metric) for pod in self.pods())

    def settled(self, metric: str) -> float:
        """The total once it no longer moves: a sidecar reads its engine's metrics every second."""
        seen: list[float] = []

        def look() -> float:
            seen.append(self.total(metric))
            if len(seen) < 3 or len(set(seen[-3:])) > 1:
                raise NotYetError(f"{metric} was {seen[-3:]}")
            return seen[-1]

        what = f"{self.name}: {metric} at rest"
        return until(what, look, within_seconds=60, every_seconds=1.2)

    def children(self) -> list[Object]:
        return self.kube.list(CHILDREN, self.selector)


def samples(page: str, metric: str) -> list[float]:
    """The values of a metric on a page in the Prometheus text format, whatever their labels."""
    found = (_SAMPLE.match(line) for line in page.splitlines())
    return [float(one["value"]) for one in found if one and one["name"] == metric]
