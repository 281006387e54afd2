"""Clients with old connections find a canary: connections end sooner while it has no requests."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime

from batchfleet_operator import names
from batchfleet_operator.decision import Object
from tests.operator.judged import JudgedCluster, Numbers, revision
from tests.operator.simulated import is_ready, service

FEW = Numbers(requests=2)


def age(cluster: JudgedCluster, number: int) -> int | None:
    """What pods of a revision are told of their connections; ``None``: the sidecar's default."""
    found = cluster.children["ConfigMap", f"chat-{number}-live"]["data"][names.LIVE_SETTINGS_KEY]
    told: int | None = json.loads(found)["requests"].get("maxConnectionAgeSeconds")
    return told


@dataclass
class ClientCluster(JudgedCluster):
    """Every client keeps one connection to one pod, and leaves it when it is old enough.

    New connections go to the pods in turn, as through a Service.
    """

    clients: dict[int, tuple[str, datetime]] = field(default_factory=dict)
    count: int = 12
    turn: int = 0

    def tick(self) -> None:
        serving = [pod["metadata"]["name"] for pod in self.staying() if is_ready(pod)]
        for client in range(self.count):
            pod, born = self.clients.get(client, ("", self.now))
            number = revision(self.pods[pod]) if pod in self.pods else 0
            limit = (age(self, number) or 300) if number else 0
            if serving and (pod not in serving or (self.now - born).total_seconds() > limit):
                self.turn += 1
                self.clients[client] = serving[self.turn % len(serving)], self.now
        super().tick()

    def _reading(self, numbers: Object, requests: Object) -> object:  # type: ignore[override]
        mine = [pod for pod, _ in self.clients.values()]
        return super()._reading(numbers, {name: 50.0 * mine.count(name) for name in requests})


def changed(**spec: object) -> ClientCluster:
    cluster = ClientCluster(service("chat", replicas=3, **spec))
    cluster.settle()
    cluster.tick()
    cluster.change(engine={"type": "vLLM", "model": "m", "maxNumSeqs": 16})
    return cluster


def test_a_short_deadline_does_not_pause_for_want_of_clients() -> None:
    cluster = changed(rollout={"canary": {"deadlineSeconds": 280}})
    revisions = set()
    paused = False
    for _ in range(80):
        cluster.round()
        paused = paused or cluster.rollout["state"] == "Paused"
        revisions |= {name for kind, name in cluster.children if kind == "ControllerRevision"}
    assert not paused
    assert cluster.rollout["state"] == "Done"
    assert cluster.rollout["message"].startswith("all pods: one pod did as well")
    assert revisions == {"chat-1", "chat-2"}


def test_the_old_and_the_new_pods_end_them_alike_and_only_meanwhile() -> None:
    # Were it the old ones alone, all clients would end up at the new pod, and stay there.
    cluster = changed()
    seen: list[set[int | None]] = []
    while cluster.parent.get("status", {}).get("rollout", {}).get("state") != "Done":
        cluster.round()
        told = {age(cluster, n) for n in cluster.deployed()}
        assert len(told) == 1
        if not seen or seen[-1] != told:
            seen.append(told)
    assert seen == [{None}, {30}, {None}]


def test_a_value_of_the_spec_is_left_alone() -> None:
    for own in (0, 600):
        cluster = changed(requests={"maxConnectionAgeSeconds": own})
        cluster.pass_time(500)
        assert (age(cluster, 1), age(cluster, 2)) == (own, own)
        assert "rebalancing" not in cluster.rollout


def test_with_requests_enough_nothing_changes() -> None:
    cluster = JudgedCluster(service("chat", replicas=3))
    cluster.settle()
    cluster.tick()
    cluster.change(engine={"type": "vLLM", "model": "m", "maxNumSeqs": 16})
    while cluster.parent.get("status", {}).get("rollout", {}).get("state") != "Done":
        cluster.round()
        assert {age(cluster, n) for n in cluster.deployed()} == {None}


def test_an_idle_service_keeps_its_connections() -> None:
    cluster = JudgedCluster(service("chat", replicas=3), offered=0.0)
    cluster.says = {1: FEW, 2: FEW}
    cluster.settle()
    cluster.tick()
    cluster.change(engine={"type": "vLLM", "model": "m", "maxNumSeqs": 16})
    for _ in range(60):
        cluster.round()
        assert {age(cluster, n) for n in cluster.deployed()} == {None}


def test_going_back_or_being_held_ends_it() -> None:
    for hold in (False, True):
        cluster = JudgedCluster(service("chat", replicas=3))
        cluster.says[2] = FEW
        cluster.settle()
        cluster.tick()
        cluster.change(engine={"type": "vLLM", "model": "m", "maxNumSeqs": 16})
        cluster.pass_time(120)
        assert age(cluster, 1) == 30
        if hold:
            cluster.annotate("paused")
        else:
            cluster.says[2] = Numbers(errors=0.5)
        cluster.pass_time(300)
        assert age(cluster, 1) is None
