"""A rule of alertActions acts on what Prometheus says, looks at the result, and takes it back."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from e2e.support.automation import Automation, moment, quick
from e2e.support.fixtures import Serve
from e2e.support.fleet import Fleet
from e2e.support.kube import Kube, Object
from e2e.support.load import Load, running, steady
from e2e.support.release import Release
from e2e.support.services import MODEL, fault, heal, stall
from e2e.support.standstill import no_deletion
from e2e.support.wait import NotYetError, holds, until

# An iteration takes 10 ms for each request in it: a smaller batch is a faster one.
BATCH_IS_TIME = ("--step-ms=0.1", "--step-ms-per-seq=10")
BATCH = 8
SMALL_BATCH = 4
# Either side of an edge of the histogram, with room for a slow machine: 8 at once take 80 ms, so
# slowed 240 ms, and 4 take 120 ms.
SLOWED = 3
TOO_SLOW = "0.3"  # the 95th percentile of what lies between 0.2 and 0.5 s is above


def steps(factor_percent: int) -> dict[str, Any]:
    """The action that makes the batch smaller."""
    return {
        "type": "ScaleBatchSize",
        "factorPercent": factor_percent,
        "minBatchSize": SMALL_BATCH,
        "maxBatchSize": BATCH,
    }


# After the confirmation.  The aim is one scrape and 2 s; without its annotation a pod would see
# its new settings after a minute.
APPLIED_WITHIN_SECONDS = 20.0
STALLED_SECONDS = 8  # then a request is told that there is no answer
# Of the error's words.
TIMED_OUT = "requests.timeoutSeconds"
DRAINING = "another replica will answer"


def test_a_slow_engine_gets_a_smaller_batch_and_its_own_back(serve: Serve, clients: Kube) -> None:
    slow_tokens = quick("slow-tokens", preset="InterTokenLatency", above=TOO_SLOW, action=steps(50))
    fleet = serve(
        replicas=2, args=BATCH_IS_TIME, batching={"maxBatchSize": BATCH}, alertActions=[slow_tokens]
    )
    automation, before = Automation(fleet), fleet.pods()
    streams = Load(fleet.url, MODEL, 16, requests=0, stream="always", unique=True)

    with running(clients, streams) as load:
        automation.wait_rule("slow-tokens", "Healthy", within_seconds=120)
        for pod in before:
            fault(fleet.kube, pod.name, slowFactor=SLOWED)
        began = time.time()
        wait_limits(fleet, SMALL_BATCH, within_seconds=120)
        applied = time.time()

        def told() -> None:
            seen = automation.status()["effective"]
            if (seen["maxBatchSize"], seen["source"]) != (SMALL_BATCH, "AlertAction"):
                raise NotYetError(f"{seen}")

        until("the status tells it", told, within_seconds=120, every_seconds=0.2)
        # From now on the operator tries, step by step, whether more would do.
        shrunk = until("the step is verified", lambda: first_step(automation), within_seconds=120)
        late = applied - moment(shrunk["time"])
        print(f"in both pods {applied - began:.1f} s after the fault, {late:.1f} s after confirmed")
        for pod in before:
            heal(fleet.kube, pod.name)
        wait_limits(fleet, BATCH, within_seconds=120)
        account = load.stop()

        def its_own() -> None:
            if automatic := automation.status().get("automatic"):
                raise NotYetError(f"{automatic}")

        until("nothing is automatic", its_own, within_seconds=120)

    assert late <= APPLIED_WITHIN_SECONDS
    assert (shrunk["old"], shrunk["new"]) == (BATCH, SMALL_BATCH)
    # Unchanged, and so kept: where something else slows the machine down meanwhile.
    assert shrunk["outcome"] in ("Helped", "Unchanged")
    assert account.failures == []
    assert fleet.pods() == before  # the same UIDs, and no container restarted


def first_step(automation: Automation) -> dict[str, Any]:
    if not (history := automation.history()):
        raise NotYetError(f"intents {automation.intents()}")
    return history[0]


def test_what_made_it_worse_is_taken_back_and_not_tried_again(serve: Serve, clients: Kube) -> None:
    labels = '{namespace="$namespace",service="$service"}'
    # A smaller batch makes the queue longer, which is what this rule is about: it cannot help.
    queue = quick(
        "queue",
        query=f"sum(batchfleet_queued{labels})",
        samplesQuery=f"sum(increase(batchfleet_requests_offered_total{labels}[$window]))",
        above="2",
        action=steps(50),
        cooldownSeconds=20,  # the circuit is open for six times that
    )
    fleet = serve(args=BATCH_IS_TIME, batching={"maxBatchSize": BATCH}, alertActions=[queue])
    automation = Automation(fleet)
    crowd = Load(fleet.url, MODEL, 14, requests=0, unique=True, max_tokens=8)

    with running(clients, crowd) as load:
        wait_limits(fleet, SMALL_BATCH, within_seconds=120)
        restored = automation.wait_outcome("queue", "Restored", within_seconds=120)
        wait_limits(fleet, BATCH, within_seconds=120)
        told = automation.wait_rule("queue", "Open", within_seconds=120)

        def once() -> None:
            if automation.intents() or automation.outcomes("queue") != ["Restored"]:
                raise NotYetError(f"{automation.intents()}, {automation.history()}")

        holds("it stays taken back", once, for_seconds=8)  # the rule is broken all the time
        account = load.stop()

    print(f"{told['reason']}: {told['message']}")
    assert (restored["old"], restored["new"]) == (BATCH, SMALL_BATCH)
    assert moment(told["openUntil"]) > time.time()
    assert account.failures == []


def test_the_one_stalled_pod_of_three_is_restarted(serve: Serve, clients: Kube) -> None:
    # Its own liveness rule would act after 120 s: here it is the fleet's rule that does.  A pod
    # that drains is looked at still: 10 s, and until what hangs in its engine was told so.
    stalled = quick("stalled", preset="EngineStalled", minSamples=None, verifySeconds=22)
    fleet = serve(
        replicas=3,
        requests={"timeoutSeconds": STALLED_SECONDS},
        drain={"timeoutSeconds": 8},
        alertActions=[stalled],
    )
    automation = Automation(fleet)
    crowd = Load(fleet.url, MODEL, 9, requests=0, stream="mixed", unique=True, max_tokens=8)

    with running(clients, crowd) as load:
        load_began = time.monotonic()
        automation.wait_rule("stalled", "Healthy", within_seconds=120)
        ill = until("a pod with work", fleet.at_work, within_seconds=90)
        others = {pod.uid for pod in fleet.pods()} - {ill.uid}
        began = time.monotonic()
        stall(fleet.kube, ill.name)
        fleet.wait_gone({ill.uid}, within_seconds=120)
        gone = time.monotonic()
        print(f"gone {gone - began:.1f} s after the stall")
        after = fleet.wait_ready(3)
        past = automation.wait_outcome("stalled", "Helped", within_seconds=120)
        account = load.stop()
        told_by_these = [fleet.metric(pod, "batchfleet_requests_refused_total") for pod in after]

    assert past["pod"] == ill.name
    assert automation.outcomes("stalled") == ["Helped"]
    assert others < {pod.uid for pod in after}
    assert [pod.restarts for pod in after] == [{"engine": 0, "sidecar": 0}] * 3
    # Nobody's answer is lost.  Who was in the stalled pod is told so when the time is over, and may
    # ask it again as long as it is there: how many do is kube-proxy's draw.
    told = [one for one in account.answers if one.outcome != "complete"]
    print(f"{len(told)} of {len(account.answers)} were told that it hangs")
    assert {one.outcome for one in told} == {"refused"}
    assert [one for one in told if TIMED_OUT not in one.why and DRAINING not in one.why] == []
    early = [one.seconds for one in told if TIMED_OUT in one.why and one.seconds < STALLED_SECONDS]
    assert early == []
    assert [one for one in told if one.at_seconds >= gone - load_began] == []
    assert told_by_these == [0, 0, 0]


def test_when_all_pods_are_ill_none_is_restarted(serve: Serve, clients: Kube) -> None:
    # All at the same moment: what breaks the engines is what they are asked.
    fragile = ["--fail-error-percent=100", "--fail-on-prompt=poison"]
    fleet = serve(replicas=3, args=fragile, alertActions=[quick("errors", preset="ErrorRate")])
    automation, before = Automation(fleet), fleet.pods()
    good = steady(fleet.url, MODEL, 15, max_tokens=4)
    poison = replace(good, question="poison")

    def sick() -> Object:
        told = automation.rule("errors")
        if (told["state"], told["reason"]) != ("Broken", "FleetSick"):
            raise NotYetError(f"{told}")
        return told

    with running(clients, good):
        automation.wait_rule("errors", "Healthy", within_seconds=120)
        with running(clients, poison):
            told = until("the fleet is known to be ill", sick, within_seconds=120)
            holds("no action", automation.untouched, for_seconds=6)

    print(f"{told['reason']}: {told['message']}")
    assert fleet.pods() == before


def test_an_operator_that_dies_between_deciding_and_acting(
    serve: Serve, clients: Kube, release: Release
) -> None:
    fleet = serve(replicas=3, alertActions=[quick("errors", preset="ErrorRate")])
    automation = Automation(fleet)
    (ill, *others) = fleet.pods()

    with running(clients, steady(fleet.url, MODEL, 15, max_tokens=4)):
        automation.wait_rule("errors", "Healthy", within_seconds=120)
        with no_deletion(fleet.kube, ill.name):
            fault(fleet.kube, ill.name, errorPercent=100)
            decided = automation.wait_intent("Acting", within_seconds=120)
            release.kill_operator()
        fleet.wait_gone({ill.uid}, within_seconds=150)
        after = fleet.wait_ready(3)
        automation.wait_outcome("errors", "Helped", within_seconds=120)

    assert decided["podUid"] == ill.uid
    assert automation.intents() == []
    assert automation.outcomes("errors") == ["Helped"]
    assert {pod.uid for pod in others} < {pod.uid for pod in after}


def wait_limits(fleet: Fleet, limit: int, *, within_seconds: float) -> None:
    """Wait until every pod runs with this limit."""

    def look() -> None:
        limits = [fleet.state(pod)["limit"] for pod in fleet.pods()]
        if set(limits) != {limit}:
            rules = Automation(fleet).status().get("rules")
            raise NotYetError(f"the limits are {limits}, the rules {rules}")

    what = f"the limit is {limit} in every pod"
    until(what, look, within_seconds=within_seconds, every_seconds=0.1)
