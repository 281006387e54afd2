"""Operators come and go: none, one that dies, two at once, one whose lease is taken."""

from __future__ import annotations

import uuid
from pathlib import Path

from tests.support import simulated
from tests.support.eventually import eventually, never
from tests.support.kube import Kube
from tests.support.operator_process import OperatorProcess
from tests.support.services import condition, conditions, pods, service


def test_a_rollout_survives_the_death_of_the_operator(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    kube.apply(service(namespace, replicas=4))
    eventually(lambda: condition(kube, namespace, "Progressing") == ("True", "RolledOut"))

    engine = {"type": "vLLM", "model": "Qwen/Qwen3-8B", "maxNumSeqs": 32}
    kube.apply(service(namespace, replicas=4, engine=engine))
    eventually(lambda: kube.get("Deployment", namespace, "chat-2"))
    operator.kill()
    assert kube.get("Deployment", namespace, "chat-1"), "it was not in the middle"
    never(lambda: len(pods(kube, namespace)) < 4, for_seconds=1)

    operator.start()  # the same pod's next container: the lease is its own
    eventually(lambda: kube.get("Deployment", namespace, "chat-1") is None)
    eventually(lambda: condition(kube, namespace, "Progressing") == ("True", "RolledOut"))
    revisions = {
        pod["metadata"]["labels"]["batchfleet.io/revision"] for pod in pods(kube, namespace)
    }
    assert (revisions, len(pods(kube, namespace))) == ({"2"}, 4)


def test_of_two_operators_one_acts_and_the_other_takes_over(
    kube: Kube, namespace: str, operator: OperatorProcess, tmp_path: Path
) -> None:
    with OperatorProcess(kube, tmp_path, namespace, [namespace], name="two") as second:
        eventually(lambda: second.health() == "standby")
        kube.apply(service(namespace))
        eventually(lambda: len(pods(kube, namespace)) == 1)
        assert set(second.api_calls()) == {("discover", "BatchInferenceService")}

        assert operator.stop() == 0
        second.leads()
        kube.apply(service(namespace, replicas=2))
        eventually(lambda: len(pods(kube, namespace)) == 2)


def test_an_operator_that_loses_its_lease_ends_and_says_so(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    thief = {"spec": {"holderIdentity": "thief"}}
    kube.patch("Lease", namespace, "batchfleet-operator", thief)
    assert operator.wait() == 1
    assert f"lost the lease {namespace}/batchfleet-operator: thief holds it" in operator.log()


def test_a_crd_older_than_the_operator_is_told_and_harms_nobody(
    kube: Kube, namespace: str, tmp_path: Path
) -> None:
    older = simulated.definition()
    schema = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    del schema["status"]["properties"]["stableRevision"]
    kube.apply(service(namespace))
    kube.apply(older)
    try:
        eventually(lambda: not keeps_stable_revision(kube, namespace))
        with OperatorProcess(kube, tmp_path, namespace, [namespace]) as operator:
            operator.leads()
            eventually(lambda: condition(kube, namespace, "Ready") == ("False", "CRDOutdated"))
            assert "status.stableRevision" in conditions(kube, namespace)["Ready"][2]
            assert "CRDOutdated" in operator.log()
            eventually(lambda: condition(kube, namespace, "Available")[0] == "True")
    finally:
        simulated.install_crd(kube)
        eventually(lambda: keeps_stable_revision(kube, namespace))


def keeps_stable_revision(kube: Kube, namespace: str) -> bool:
    """Whether the API server keeps that field; a new schema takes it a moment."""
    where = ("BatchInferenceService", namespace, "chat")
    status = {"stableRevision": uuid.uuid4().hex[:8]}
    kept = kube.patch(*where, {"status": status}, "status").get("status", {})
    return bool(kept.get("stableRevision") == status["stableRevision"])
