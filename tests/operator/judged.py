"""A simulated cluster with a Prometheus: what it says of the pods is what a test lets it say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from batchfleet_operator import names
from batchfleet_operator.config import Config, Monitoring, PrometheusConfig
from batchfleet_operator.decision import Object
from batchfleet_operator.metering.signals import Reading, Signals, Watched
from batchfleet_operator.rollouts import canary
from tests.operator.simulated import START, SimulatedCluster, condition, is_ready

MONITORED = Config(monitoring=Monitoring(prometheus=PrometheusConfig(url="http://prometheus:9090")))


@dataclass(frozen=True)
class Numbers:
    """What the pods of one revision show; ``None``: no sample."""

    errors: float | None = 0.0
    ttft: float | None = 0.2
    requests: float = 100.0


@dataclass
class JudgedCluster(SimulatedCluster):
    """Time passes in steps of a quarter of a minute, each with a tick."""

    config: Config = MONITORED
    says: dict[int, Numbers] = field(default_factory=dict)  # by revision; absent: good numbers
    up: bool = True  # Prometheus is
    offered: float | None = 10.0  # requests per second of the whole service

    def tick(self) -> None:
        """One snapshot more; none where Prometheus is down."""
        if self.up:
            pods = [
                (p, self.says.get(revision(p), Numbers())) for p in filter(is_ready, self.staying())
            ]
            requests = {p["metadata"]["name"]: n.requests for p, n in pods}
            errors = {p["metadata"]["name"]: n.errors for p, n in pods}
            ttft = {p["metadata"]["name"]: n.ttft for p, n in pods}
            self.watched = Watched(
                since=START,
                signals=[Signals(self.now, offered_per_second=self.offered)],
                readings={
                    canary.ERRORS: [self._reading(errors, requests)],
                    canary.TTFT: [self._reading(ttft, requests)],
                },
            )

    def _reading(
        self, numbers: Mapping[str, float | None], requests: Mapping[str, float]
    ) -> Reading:
        known = {name: value for name, value in numbers.items() if value is not None}
        return Reading(self.now, by_pod=known, samples_by_pod=requests)

    def round(self, *, starts: bool = True) -> None:
        """A look, the controllers, the kubelets (where pods start), and a tick."""
        self.reconcile()
        self.controllers()
        for pod in self.staying():
            if starts and not is_ready(pod):
                self.get_ready(pod)
        self.now += timedelta(seconds=14)
        self.tick()

    def pass_time(self, seconds: int, *, starts: bool = True) -> None:
        until = self.now + timedelta(seconds=seconds)
        while self.now < until:
            self.round(starts=starts)

    @property
    def rollout(self) -> Object:
        told: Object = self.parent["status"]["rollout"]
        return told

    @property
    def reason(self) -> str:
        return str(condition(self.parent, "Ready")["reason"])

    @property
    def message(self) -> str:
        return str(condition(self.parent, "Ready")["message"])

    def deployed(self) -> dict[int, int]:
        """Replicas asked for, by revision."""
        return {
            int(each["metadata"]["labels"][names.LABEL_REVISION]): each["spec"]["replicas"]
            for (kind, _), each in sorted(self.children.items())
            if kind == names.DEPLOYMENT.kind
        }

    def annotate(self, value: str | None) -> None:
        """The user sets the annotation for rollouts, or takes it off."""
        annotations = self.parent["metadata"].setdefault("annotations", {})
        annotations.pop(names.ANNOTATION_ROLLOUT, None)
        if value is not None:
            annotations[names.ANNOTATION_ROLLOUT] = value


def revision(pod: Object) -> int:
    return int(pod["metadata"]["labels"][names.LABEL_REVISION])
