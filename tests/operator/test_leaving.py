"""Which pods go, and what is said of their requests."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from batchfleet_operator import names
from batchfleet_operator.decision import WorkerState
from batchfleet_operator.observed import Pod
from batchfleet_operator.plan import plan
from batchfleet_operator.rollouts import leaving
from batchfleet_operator.rollouts.leaving import Departure, Last, departed
from tests.operator.simulated import START, SimulatedCluster, service


def settled(replicas: int) -> SimulatedCluster:
    cluster = SimulatedCluster(service(replicas=replicas))
    cluster.settle()
    for number, pod in enumerate(cluster.staying()):
        cluster.load[pod["metadata"]["uid"]] = (number * 7 + 3) % 5
    return cluster


def test_the_least_loaded_pods_go() -> None:
    cluster = settled(5)
    by_load = sorted(cluster.load, key=lambda uid: cluster.load[uid])
    cluster.change(replicas=3)
    cluster.settle()
    assert {pod["metadata"]["uid"] for pod in cluster.pods.values()} == set(by_load[2:])


def test_the_smaller_number_comes_after_the_marks() -> None:
    cluster = settled(3)
    cluster.change(replicas=2)
    first = cluster.reconcile()
    deployment = cluster.children["Deployment", "chat-1"]
    assert deployment["spec"]["replicas"] == 3
    assert [patch.annotations for patch in first.patch] == [{names.ANNOTATION_DELETION_COST: "-1"}]
    assert first.again_in_seconds == 0.0
    second = cluster.reconcile()
    assert cluster.children["Deployment", "chat-1"]["spec"]["replicas"] == 2
    assert second.patch == []


def test_how_loaded_they_are_is_asked_first() -> None:
    cluster = settled(3)
    cluster.change(replicas=2)
    known = replace(cluster.observe(), afresh=False)
    made = plan(cluster.parent, known, cluster.config, cluster.now)
    assert made.ask_afresh
    assert made.again_in_seconds == 0.0
    assert made.patch == []
    (told,) = [each for each in made.apply if each["kind"] == "Deployment"]
    assert told["spec"]["replicas"] == 3
    assert not plan(cluster.parent, cluster.observe(), cluster.config, cluster.now).ask_afresh


def test_a_mark_goes_when_its_pod_stays_after_all() -> None:
    cluster = settled(3)
    cluster.change(replicas=2)
    cluster.reconcile()
    cluster.change(replicas=3)
    made = cluster.reconcile()
    assert [patch.annotations for patch in made.patch] == [{names.ANNOTATION_DELETION_COST: "0"}]
    assert cluster.reconcile().patch == []


def test_a_fleet_that_does_not_shrink_is_left_alone() -> None:
    cluster = settled(3)
    known = replace(cluster.observe(), afresh=False)
    made = plan(cluster.parent, known, cluster.config, cluster.now)
    assert not made.ask_afresh
    assert made.patch == []


def pods(count: int, *, ready: int, answering: int) -> list[Pod]:
    return [
        Pod(
            name=f"p{n}",
            uid=f"u{n}",
            revision=1,
            ready=n < ready,
            leaving=False,
            created=START,
            waiting_since=START,
            live_hash=None,
            problem=None,
            state=WorkerState("x", None, draining=False, in_flight=n) if n < answering else None,
        )
        for n in range(count)
    ]


@given(st.data(), st.integers(1, 8))
def test_shrinking_ends_with_the_number_that_is_wanted(data: st.DataObject, count: int) -> None:
    ready = data.draw(st.integers(0, count))
    there = pods(count, ready=ready, answering=data.draw(st.integers(0, ready)))
    wanted = data.draw(st.integers(0, count))
    told = leaving.shrink(there, count, wanted, afresh=True)
    if told.patches:
        marked = {patch.pod.uid for patch in told.patches}
        there = [replace(pod, marked=pod.uid in marked) for pod in there]
        assert told.replicas == count
        told = leaving.shrink(there, count, wanted, afresh=False)
    assert told.replicas == wanted
    assert not told.patches
    assert not told.ask_afresh


def state(drained: int) -> WorkerState:
    return WorkerState("x", None, draining=True, in_flight=1, drained=drained, handed_back=2)


def test_the_account_of_a_pod_is_what_its_sidecar_said_last() -> None:
    cluster = settled(1)
    (pod,) = cluster.staying()
    uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
    last, gone = departed({}, [pod], {uid: state(1)})
    assert (last, gone) == ({}, [])
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for said in ({uid: state(1)}, {uid: state(5)}, {}):  # the last time nobody answers
        last, gone = departed(last, [pod], said)
        assert gone == []
    last, gone = departed(last, [], {})
    assert (last, gone) == ({}, [Departure(name, drained=5, handed_back=2, aborted=0)])
    event = gone[0].event
    assert event is not None
    assert (event.type, event.reason) == ("Normal", leaving.DRAINED_EVENT)
    assert "5 requests were answered to the end, 2 handed back" in event.message


def test_requests_that_were_cut_off_are_a_warning() -> None:
    event = Departure("p", drained=0, handed_back=0, aborted=1).event
    assert event is not None
    assert event.type == "Warning"


def test_a_pod_without_requests_leaves_without_a_word() -> None:
    assert Departure("p", 0, 0, 0).event is None
    assert departed({"u": Last("p", None)}, [], {}) == ({}, [])


def test_a_leaving_pod_that_answers_is_looked_at_every_second() -> None:
    cluster = settled(2)
    cluster.change(replicas=1)
    for _ in range(3):
        cluster.reconcile()
        cluster.now += timedelta(seconds=1)
    cluster.controllers()
    assert cluster.reconcile().again_in_seconds == leaving.LOOK_SECONDS
