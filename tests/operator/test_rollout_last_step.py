"""The last step is watched too: while pods move, and with an analysis for a while afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from batchfleet_operator import names
from batchfleet_operator.decision import Object
from batchfleet_operator.metering.signals import Reading
from batchfleet_operator.rollouts import canary
from tests.operator.judged import JudgedCluster, Numbers
from tests.operator.simulated import condition, is_ready, service

BAD = Numbers(errors=0.5)


@dataclass
class SlowCluster(JudgedCluster):
    """One pod at a time gets ready, every other round; ``analysis`` is a reading's number."""

    analysis: float | None = None
    rounds: int = 0

    def round(self, *, starts: bool = True) -> None:
        self.rounds += 1
        waiting = [pod for pod in self.staying() if not is_ready(pod)]
        if starts and waiting and self.rounds % 2:
            self.get_ready(waiting[0])
        super().round(starts=False)

    def tick(self) -> None:
        super().tick()
        if self.watched is not None:
            value = Reading(self.now, value=self.analysis)
            readings = {**self.watched.readings, canary.ANALYSIS: [value]}
            self.watched = replace(self.watched, readings=readings)


def at_last_step(replicas: int = 12, **rollout: object) -> SlowCluster:
    spec: Object = {"rollout": rollout} if rollout else {}
    cluster = SlowCluster(service("chat", replicas=replicas, **spec), analysis=1.0)
    cluster.settle()
    cluster.tick()
    cluster.change(engine={"type": "vLLM", "model": "m", "maxNumSeqs": 16})
    for _ in range(120):
        cluster.round()
        if cluster.rollout["step"] == "All":
            return cluster
    raise AssertionError("it does not get to the last step")


def test_a_revision_that_turns_bad_in_the_last_step_goes_back() -> None:
    cluster = at_last_step()
    cluster.says[2] = BAD
    cluster.pass_time(180)
    assert cluster.rollout["state"] == "RolledBack"
    cluster.pass_time(600)
    assert cluster.deployed() == {1: 12}
    assert cluster.reason == names.ROLLED_BACK


def test_a_slower_answer_in_the_last_step_condemns_nobody() -> None:
    # The pods that are left have ever fewer clients: they answer sooner because of that.
    cluster = at_last_step()
    cluster.says[2] = Numbers(ttft=2.0)
    cluster.pass_time(900)
    assert cluster.deployed() == {2: 12}


def test_missing_numbers_do_not_hold_the_last_step() -> None:
    cluster = at_last_step()
    cluster.up = False
    cluster.pass_time(900)
    assert cluster.rollout["state"] == "Done"


def test_without_auto_rollback_it_stops_and_says_why() -> None:
    cluster = at_last_step(autoRollback=False)
    cluster.says[2] = BAD
    cluster.pass_time(180)
    there = cluster.deployed()
    cluster.pass_time(600)
    assert cluster.deployed() == there
    assert cluster.reason == names.ROLLOUT_PAUSED
    assert "errors" in cluster.message
    cluster.says.clear()
    cluster.pass_time(900)
    assert cluster.deployed() == {2: 12}


ANALYSIS = {"query": "x", "above": "3"}


def complete() -> SlowCluster:
    """All pods run the new revision, and are just ready."""
    cluster = at_last_step(replicas=4, analysis=ANALYSIS)
    while cluster.deployed().get(1) or not all(map(is_ready, cluster.staying())):
        cluster.round()
    cluster.round()
    return cluster


def test_an_analysis_goes_on_for_a_while_after_the_last_pod() -> None:
    cluster = complete()
    assert cluster.rollout["state"] == "Judging"
    assert cluster.parent["status"]["stableRevision"] == "chat-1"
    assert condition(cluster.parent, "Ready")["status"] == "False"
    assert condition(cluster.parent, "Available")["status"] == "True"
    began = cluster.now
    while cluster.rollout["state"] == "Judging":
        cluster.round()
        assert cluster.deployed() == {2: 4}
    assert 150 <= (cluster.now - began).total_seconds() <= 300
    assert cluster.rollout["state"] == "Done"
    assert cluster.parent["status"]["stableRevision"] == "chat-2"
    assert condition(cluster.parent, "Ready")["status"] == "True"


def test_what_turns_bad_then_goes_back() -> None:
    cluster = complete()
    cluster.analysis = 5.0
    cluster.pass_time(600)
    assert cluster.deployed() == {1: 4}
    assert cluster.reason == names.ROLLED_BACK


@pytest.mark.parametrize("status", ["kept", "lost"])
def test_an_analysis_without_a_number_does_not_hold_it_for_ever(status: str) -> None:
    cluster = complete()
    cluster.analysis = None
    cluster.pass_time(300)
    assert cluster.rollout["state"] == "Judging"
    if status == "lost":
        cluster.parent["status"] = {}
    cluster.pass_time(1000)
    assert cluster.deployed() == {2: 4}
    assert cluster.parent["status"]["stableRevision"] == "chat-2"


def test_more_replicas_meanwhile_are_new_ones() -> None:
    cluster = complete()
    cluster.change(replicas=6)
    cluster.pass_time(900)
    assert cluster.deployed() == {2: 6}
    assert cluster.rollout["state"] == "Done"
