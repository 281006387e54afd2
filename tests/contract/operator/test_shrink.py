"""A fleet that gets smaller: the sidecars are asked, the pods that go are marked, then it scales.

The ReplicaSet controller that takes the pods is Kubernetes' own, and knows nothing but the marks.
"""

from __future__ import annotations

from tests.support.eventually import eventually, never
from tests.support.kube import Kube, Object
from tests.support.operator_process import OperatorProcess
from tests.support.services import addresses, condition, pods, service, settings_hash
from tests.support.sidecars import Sidecars

COST = "controller.kubernetes.io/pod-deletion-cost"
MANY = 6


def stands(kube: Kube, sidecars: Sidecars, namespace: str) -> list[Object]:
    """``MANY`` ready pods whose sidecars answer."""
    kube.apply(service(namespace, replicas=MANY))
    found = eventually(lambda: pods_with_addresses(kube, namespace))
    sidecars.says(addresses(found), settings_hash(kube, namespace))
    eventually(lambda: condition(kube, namespace, "Ready") == ("True", "AsSpecified"))
    return pods(kube, namespace)


def pods_with_addresses(kube: Kube, namespace: str) -> list[Object]:
    found = pods(kube, namespace)
    return found if len(addresses(found)) == MANY else []


def names(found: list[Object]) -> set[str]:
    return {pod["metadata"]["name"] for pod in found}


def costs(found: list[Object]) -> set[str]:
    return {(pod["metadata"].get("annotations") or {}).get(COST, "0") for pod in found}


def test_the_pods_with_the_fewest_requests_go(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    with Sidecars() as sidecars:
        there = sorted(stands(kube, sidecars, namespace), key=lambda pod: pod["metadata"]["name"])
        busy = [there[0], there[2], there[5]]  # whatever order the controller would take
        for pod in busy:
            sidecars.serves(pod["status"]["podIP"], in_flight=7)
        kube.apply(service(namespace, replicas=len(busy)))
        eventually(lambda: len(pods(kube, namespace)) == len(busy))
        assert names(pods(kube, namespace)) == names(busy)
        eventually(lambda: condition(kube, namespace, "Ready") == ("True", "AsSpecified"))
        assert costs(pods(kube, namespace)) == {"0"}
        asked = sidecars.asked
        never(lambda: sidecars.asked != asked, for_seconds=3)  # how loaded they are is past


def test_marks_that_a_dead_operator_left_are_taken_off(
    kube: Kube, namespace: str, operator: OperatorProcess
) -> None:
    with Sidecars() as sidecars:
        there = names(stands(kube, sidecars, namespace))
        operator.kill()
        for name in sorted(there)[:2]:
            mark = {"metadata": {"annotations": {COST: "-1"}}}
            kube.patch("Pod", namespace, name, mark)
        operator.start()
        operator.leads()
        eventually(lambda: costs(pods(kube, namespace)) == {"0"})
        assert names(pods(kube, namespace)) == there
