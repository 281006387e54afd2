"""Rollouts with a Prometheus: what a user sees of steps, of pauses, and of going back."""

from __future__ import annotations

import copy
from datetime import timedelta

import pytest

from batchfleet_operator import names
from batchfleet_operator.decision import Object
from tests.operator.judged import JudgedCluster, Numbers
from tests.operator.simulated import condition, is_ready, service

BAD = Numbers(errors=0.5)
UNKNOWN = Numbers(errors=None, ttft=None)


def engine(**fields: object) -> Object:
    return {"type": "vLLM", "model": "m", "maxNumSeqs": 8, **fields}


def changed(replicas: int = 8, **spec: object) -> JudgedCluster:
    """A settled service whose engine the user has just changed."""
    cluster = JudgedCluster(service("chat", replicas=replicas, **spec))
    cluster.settle()
    cluster.tick()
    cluster.change(engine=engine(maxNumSeqs=16))
    return cluster


def failed(cluster: JudgedCluster) -> set[str]:
    return {
        name
        for (kind, name), each in cluster.children.items()
        if kind == names.CONTROLLER_REVISION.kind
        and each["metadata"]["labels"].get(names.LABEL_FAILED) == "true"
    }


def test_a_good_revision_goes_from_one_pod_to_a_quarter_to_all() -> None:
    cluster = changed(replicas=8)
    seen: list[tuple[str, dict[int, int]]] = []
    times = {}
    for _ in range(60):
        cluster.round()
        if not seen or seen[-1][0] != cluster.rollout["step"]:
            seen.append((cluster.rollout["step"], cluster.deployed()))
            times[cluster.rollout["step"]] = cluster.now
        if cluster.rollout["state"] == "Done":
            break
    assert [step for step, _ in seen] == ["OnePod", "Quarter", "All"]
    assert seen[0][1] == {1: 8, 2: 1}  # the first pod comes on top: taking it back costs nothing
    assert seen[1][1][2] <= 2
    for before, after in (("OnePod", "Quarter"), ("Quarter", "All")):
        assert times[after] - times[before] >= timedelta(seconds=3 * 60)
    assert cluster.deployed()[2] == 8
    assert cluster.rollout["state"] == "Done"
    assert {event.reason for event in cluster.events} >= {"RolloutStep"}


def test_a_small_fleet_has_no_step_twice() -> None:
    cluster = changed(replicas=4)
    cluster.pass_time(240)
    assert cluster.rollout["step"] == "All"


def test_a_settled_rollout_asks_for_no_more_looks() -> None:
    cluster = changed(replicas=2)
    cluster.pass_time(600)
    made = cluster.plan()
    assert made.again_in_seconds is None
    assert made.status == cluster.parent["status"]
    assert cluster.parent["status"]["stableRevision"] == "chat-2"


@pytest.mark.parametrize("bad", [BAD, Numbers(ttft=0.5)])
def test_a_bad_revision_goes_back_without_taking_a_stable_pod(bad: Numbers) -> None:
    cluster = changed(replicas=4)
    cluster.says[2] = bad
    for _ in range(30):
        cluster.round()
        assert sum(is_ready(pod) for pod in cluster.staying()) >= 4
    assert cluster.deployed() == {1: 4}
    assert failed(cluster) == {"chat-2"}
    assert (condition(cluster.parent, "Ready")["status"], cluster.reason) == (
        "False",
        names.ROLLED_BACK,
    )
    assert condition(cluster.parent, "Available")["status"] == "True"
    assert condition(cluster.parent, "Progressing")["reason"] == names.ROLLED_BACK
    assert "chat-2 is rolled back to chat-1" in cluster.message
    assert cluster.rollout["state"] == "RolledBack"
    assert cluster.parent["status"]["revision"] == "chat-1"
    assert cluster.parent["spec"]["engine"] == engine(maxNumSeqs=16)  # nobody writes the spec
    assert [e.type for e in cluster.events if e.reason == names.ROLLED_BACK] == ["Warning"]


def rolled_back() -> JudgedCluster:
    cluster = changed(replicas=2)
    cluster.says[2] = BAD
    cluster.pass_time(300)
    assert cluster.deployed() == {1: 2}
    return cluster


def test_a_failed_revision_is_not_chosen_again_by_itself() -> None:
    cluster = rolled_back()
    cluster.says.clear()
    cluster.parent["status"] = {}  # a lost status forgets nothing that matters
    cluster.change(replicas=3, batching={"maxBatchSize": 4})
    for _ in range(40):
        cluster.round()
        assert set(cluster.deployed()) == {1}
    assert cluster.deployed() == {1: 3}
    assert cluster.reason == names.ROLLED_BACK
    assert cluster.rollout["state"] == "RolledBack"
    assert condition(cluster.parent, "SettingsApplied")["status"] == "True"


def test_after_other_inputs_it_may_be_tried_again() -> None:
    cluster = rolled_back()
    cluster.says.clear()
    cluster.change(engine=engine())
    cluster.settle()
    assert cluster.reason == names.AS_SPECIFIED
    assert "rollout" not in cluster.parent["status"]
    cluster.change(engine=engine(maxNumSeqs=16))
    cluster.pass_time(600)
    assert cluster.deployed()[2] == 2
    assert failed(cluster) == set()


def test_a_refused_spec_after_a_rollback_leaves_the_stable_revision_running() -> None:
    cluster = changed(replicas=2)
    cluster.says[2] = BAD
    while not failed(cluster):
        cluster.round()
    cluster.refuses = "no such field"
    cluster.change(engine=engine(maxNumSeqs=32))
    cluster.pass_time(120)
    assert cluster.deployed() == {1: 2}
    assert cluster.reason == names.INVALID_POD_TEMPLATE


def test_another_restart_id_tries_the_same_again() -> None:
    cluster = rolled_back()
    cluster.change(restart={"id": "2026-01-01"})
    cluster.pass_time(600)
    assert cluster.deployed()[3] == 2
    assert cluster.reason == names.AS_SPECIFIED


def test_restart_replaces_all_pods_once() -> None:
    cluster = JudgedCluster(service(replicas=3))
    cluster.settle()
    before = set(cluster.pods)
    cluster.change(restart={"id": "monday"})
    cluster.pass_time(600)
    assert before.isdisjoint(cluster.pods)
    after = set(cluster.pods)
    cluster.pass_time(300)
    assert set(cluster.pods) == after
    assert cluster.reason == names.AS_SPECIFIED


def test_unknown_numbers_wait_and_then_say_so() -> None:
    cluster = changed(replicas=4)
    cluster.says[2] = UNKNOWN
    cluster.pass_time(600)
    assert cluster.rollout["state"] == "Judging"
    assert cluster.deployed() == {1: 4, 2: 1}
    cluster.pass_time(360)
    assert cluster.rollout["state"] == "Paused"
    assert cluster.reason == names.ROLLOUT_PAUSED
    assert "Prometheus has no share of errors" in cluster.message
    assert condition(cluster.parent, "Progressing")["status"] == "Unknown"
    written = copy.deepcopy(cluster.parent["status"])
    cluster.pass_time(600)
    assert cluster.parent["status"] == written  # it is said once
    cluster.says.clear()
    cluster.pass_time(600)
    assert cluster.deployed()[2] == 4  # without a hand


def test_numbers_from_before_the_pods_were_warm_do_not_count() -> None:
    cluster = changed(replicas=4)
    cluster.pass_time(30)
    cluster.up = False  # the last snapshot stays, and gets old
    cluster.pass_time(800)
    assert cluster.rollout["state"] == "Judging"
    assert "goodSamples" not in cluster.rollout


@pytest.mark.parametrize("replicas", [1, 4])
def test_an_idle_service_is_promoted_on_readiness_after_the_deadline(replicas: int) -> None:
    cluster = changed(replicas=replicas)
    cluster.offered = 0.0
    cluster.says = {n: Numbers(errors=None, ttft=None, requests=0) for n in (1, 2)}
    cluster.pass_time(880)
    assert cluster.deployed() == {1: replicas, 2: 1}
    cluster.pass_time(200)
    assert cluster.deployed()[2] == replicas
    assert cluster.reason == names.AS_SPECIFIED


def test_without_a_prometheus_a_rollout_is_not_slower() -> None:
    plain = JudgedCluster(service(replicas=3))
    plain.config = plain.config.model_copy(update={"monitoring": type(plain.config.monitoring)()})
    plain.settle()
    plain.change(engine=engine(maxNumSeqs=16))
    plain.up = False
    plain.pass_time(120)
    assert plain.deployed()[2] == 3
    assert "no Prometheus" in plain.rollout["message"]


def test_a_bad_number_once_is_a_hiccup() -> None:
    cluster = changed(replicas=4)
    cluster.pass_time(75)
    cluster.says[2] = BAD
    while not cluster.rollout.get("badSamples"):
        cluster.round()
    cluster.says.clear()
    cluster.pass_time(600)
    assert cluster.deployed()[2] == 4


def test_good_and_bad_in_turn_ends_in_a_pause() -> None:
    cluster = changed(replicas=4)
    for _ in range(100):
        count = cluster.parent["status"].get("rollout", {})
        cluster.says = {2: Numbers() if count.get("badSamples") else BAD}
        cluster.round()
    assert cluster.rollout["state"] == "Paused"
    assert "alternate" in cluster.message
    assert cluster.deployed() == {1: 4, 2: 1}


def test_without_auto_rollback_it_stops_and_says_why() -> None:
    cluster = changed(replicas=4, rollout={"autoRollback": False})
    cluster.says[2] = BAD
    cluster.pass_time(300)
    assert cluster.deployed() == {1: 4, 2: 1}
    assert cluster.reason == names.ROLLOUT_PAUSED
    assert "50.0% of the new pods' requests end in errors" in cluster.message


def test_a_fix_of_a_broken_fleet_is_not_held_up_by_judging() -> None:
    cluster = JudgedCluster(service(replicas=4))
    cluster.settle()
    for pod in cluster.staying():
        cluster.fail(pod)
    cluster.now += timedelta(minutes=5)
    cluster.change(engine=engine(maxNumSeqs=16))
    for _ in range(12):
        cluster.reconcile()
        cluster.controllers()
        for pod in cluster.staying():
            if pod["metadata"]["labels"][names.LABEL_REVISION] == "2":
                cluster.get_ready(pod)
    assert cluster.deployed()[2] == 4


@pytest.mark.parametrize("analysis", [{"query": "x", "above": "3"}, {"alertName": "TooSlow"}])
def test_the_users_own_analysis_judges(analysis: Object) -> None:
    from batchfleet_operator.metering.signals import Reading, Watched
    from batchfleet_operator.rollouts import canary

    def says(cluster: JudgedCluster, *, bad: bool) -> None:
        assert cluster.watched is not None
        reading = Reading(
            cluster.now, value=4.0 if bad else 2.0, alert="firing" if bad else "inactive"
        )
        cluster.watched = Watched(cluster.watched.since, (), {canary.ANALYSIS: [reading]})

    for bad in (False, True):
        cluster = changed(replicas=2, rollout={"analysis": analysis})
        cluster.says[2] = BAD  # which is not asked
        for _ in range(40):
            cluster.round()
            says(cluster, bad=bad)
        assert cluster.deployed() == ({1: 2} if bad else {2: 2})


def test_a_lost_status_begins_the_judging_anew_and_loses_no_pod() -> None:
    cluster = changed(replicas=8)
    while cluster.parent["status"].get("rollout", {}).get("step") != "Quarter":
        cluster.round()
    cluster.round()
    cluster.parent["status"] = {}
    for _ in range(80):
        cluster.round()
        assert sum(is_ready(pod) for pod in cluster.staying()) >= 8
    assert cluster.deployed()[2] == 8
