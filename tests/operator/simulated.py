"""A cluster of plain data: carries plans out, and plays Deployment controller, kubelet and clock.

It knows nothing of how plans are made.  Whoever drives it decides which pod gets ready, so that a
property test can choose any order of events.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from batchfleet_operator import names
from batchfleet_operator.config import Config
from batchfleet_operator.decision import (
    Event,
    Object,
    Observed,
    Plan,
    Verdict,
    WorkerState,
    fingerprint,
)
from batchfleet_operator.metering.signals import Watched
from batchfleet_operator.plan import plan

START = datetime(2026, 1, 1, tzinfo=UTC)


def service(name: str = "chat", **spec: object) -> Object:
    """A small vLLM service as the API server would store it; ``spec`` replaces fields of it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "generation": 1},
        "spec": {"engine": {"type": "vLLM", "model": "m", "maxNumSeqs": 8}, "replicas": 1, **spec},
    }


@dataclass
class SimulatedCluster:
    """One service and its children."""

    parent: Object
    config: Config = field(default_factory=Config)
    refuses: str | None = None  # what a dry run is answered with
    now: datetime = START
    children: dict[tuple[str, str], Object] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)  # by name
    running: dict[str, str | None] = field(default_factory=dict)  # pod UID → settings hash
    events: list[Event] = field(default_factory=list)
    verdict: Verdict | None = None
    load: dict[str, int] = field(default_factory=dict)  # pod UID → requests in flight
    made: int = 0
    watched: Watched | None = None  # what Prometheus said
    namespace: dict[str, str] = field(default_factory=dict)  # annotations
    drops: str | None = None  # a field of the status that an older CRD does not know

    def observe(self) -> Observed:
        """What the shell would gather."""
        ready = {p["metadata"]["uid"] for p in self.pods.values() if is_ready(p)}
        states = {
            uid: WorkerState(settings, None, draining=False, in_flight=self.load.get(uid, 0))
            for uid, settings in self.running.items()
            if uid in ready
        }
        return Observed(
            objects=copy.deepcopy([*self.children.values(), *self.pods.values()]),
            workers=states,
            kinds=frozenset({names.POD_MONITOR.kind}),
            verdict=self.verdict,
            watched=self.watched,
            namespace=self.namespace,
            pruned=f"status.{self.drops}" if self.drops else None,
        )

    def plan(self) -> Plan:
        """The plan of this moment; a trial is carried out and answered first."""
        made = plan(self.parent, self.observe(), self.config, self.now)
        if made.dry_run is not None:
            self.verdict = Verdict(fingerprint(made.dry_run), self.refuses, self.now)
            made = plan(self.parent, self.observe(), self.config, self.now)
        return made

    def reconcile(self) -> Plan:
        """Plans and carries out."""
        made = self.plan()
        for wanted in made.apply:
            self._apply(wanted)
        for patch in made.patch:
            pod = self.pods[patch.pod.name]
            pod["metadata"].setdefault("annotations", {}).update(patch.annotations)
            self.running[patch.pod.uid] = self._settings(pod)  # the kubelet looks again
        for gone in made.delete:
            if gone.kind == names.POD.kind:
                assert self.pods[gone.name]["metadata"]["uid"] == gone.uid
                self.pods[gone.name]["metadata"]["deletionTimestamp"] = self.now.isoformat()
                continue
            assert self.children[gone.kind, gone.name]["metadata"]["uid"] == gone.uid
            del self.children[gone.kind, gone.name]
        kept = {name: each for name, each in made.status.items() if name != self.drops}
        self.parent["status"] = copy.deepcopy(kept)
        self.events += made.events
        return made

    def change(self, **spec: object) -> None:
        """The user applies another spec."""
        self.parent["spec"] = {**self.parent["spec"], **spec}
        self.parent["metadata"]["generation"] += 1

    def _apply(self, wanted: Object) -> None:
        key = wanted["kind"], wanted["metadata"]["name"]
        before = self.children.get(key)
        if before is None:
            self.made += 1
        uid = f"uid-{self.made}" if before is None else before["metadata"]["uid"]
        stored = copy.deepcopy(wanted)
        stored["metadata"]["uid"] = uid
        self.children[key] = stored

    def controllers(self) -> None:
        """Deployments get the number of pods that they ask for; leaving pods are gone."""
        self.now += timedelta(seconds=1)
        for name in [n for n, p in self.pods.items() if "deletionTimestamp" in p["metadata"]]:
            self.running.pop(self.pods.pop(name)["metadata"]["uid"])
        for (kind, name), deployment in self.children.items():
            if kind != names.DEPLOYMENT.kind:
                continue
            mine = [p for p in self.pods.values() if p["metadata"]["name"].startswith(f"{name}-")]
            for _ in range(deployment["spec"]["replicas"] - len(mine)):
                self._create_pod(name, deployment)
            surplus = len(mine) - deployment["spec"]["replicas"]
            for pod in sorted(mine, key=_stays)[: max(surplus, 0)]:
                pod["metadata"]["deletionTimestamp"] = self.now.isoformat()

    def _create_pod(self, owner: str, deployment: Object) -> None:
        self.made += 1
        name, uid = f"{owner}-abc-{self.made}", f"uid-{self.made}"
        template = deployment["spec"]["template"]
        self.pods[name] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **copy.deepcopy(template["metadata"]),
                "name": name,
                "uid": uid,
                "creationTimestamp": self.now.isoformat(),
                "ownerReferences": [
                    {"kind": "ReplicaSet", "name": f"{owner}-abc", "controller": True}
                ],
            },
            "status": {"conditions": []},
        }
        self.running[uid] = self._settings(self.pods[name])

    def _settings(self, pod: Object) -> str | None:
        number = int(pod["metadata"]["labels"][names.LABEL_REVISION])
        service = pod["metadata"]["labels"][names.LABEL_SERVICE]
        mounted = self.children.get(
            (names.CONFIG_MAP.kind, names.live_settings_name(service, number))
        )
        if mounted is None:
            return None
        text = mounted["data"][names.LIVE_SETTINGS_KEY]
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def get_ready(self, pod: Object) -> None:
        """A pod becomes ready."""
        pod["status"]["conditions"] = [
            {"type": "Ready", "status": "True", "lastTransitionTime": self.now.isoformat()}
        ]

    def fail(self, pod: Object) -> None:
        """A pod's engine dies and dies again."""
        since = self.now.isoformat()
        pod["status"] = {
            "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": since}],
            "containerStatuses": [
                {
                    "name": names.ENGINE,
                    "ready": False,
                    "restartCount": 3,
                    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"exitCode": 1, "message": "no GPU memory"}},
                }
            ],
        }

    def staying(self) -> list[Object]:
        """Pods that are not on their way out, oldest first."""
        return [p for p in self.pods.values() if "deletionTimestamp" not in p["metadata"]]

    def settle(self, rounds: int = 60) -> None:
        """Everything gets ready as it comes, until a round changes nothing."""
        for _ in range(rounds):
            before = copy.deepcopy((self.children, self.pods, self.parent.get("status")))
            self.reconcile()
            self.controllers()
            for pod in self.staying():
                if not is_ready(pod):
                    self.get_ready(pod)
            if before == (self.children, self.pods, self.parent.get("status")):
                return
        raise AssertionError(f"not settled after {rounds} rounds")


def _stays(pod: Object) -> tuple[bool, int]:
    """What a ReplicaSet keeps: ready pods, and of these the ones that cost more to delete."""
    annotations = pod["metadata"].get("annotations", {})
    return is_ready(pod), int(annotations.get(names.ANNOTATION_DELETION_COST, "0"))


def is_ready(pod: Object) -> bool:
    """Whether the pod takes requests."""
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def condition(parent: Object, type_: str) -> Object:
    """One condition of a service's status."""
    found: Object = {each["type"]: each for each in parent["status"]["conditions"]}[type_]
    return found


def revisions(cluster: SimulatedCluster) -> set[str]:
    """Names of the stored revisions."""
    return {name for kind, name in cluster.children if kind == names.CONTROLLER_REVISION.kind}


def deployments(cluster: SimulatedCluster) -> dict[str, int]:
    """Replicas that each Deployment asks for."""
    return {
        name: each["spec"]["replicas"]
        for (kind, name), each in cluster.children.items()
        if kind == names.DEPLOYMENT.kind
    }


def engine(**fields: object) -> Object:
    """The engine of ``service``, with other fields."""
    return {"type": "vLLM", "model": "m", "maxNumSeqs": 8, **fields}
