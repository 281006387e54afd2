"""What keeps a pod from serving, in words that help at 3 a.m.: pod, image, resource, last words.

Read from the Pod's and the Deployment's own conditions, as the kubelet, the scheduler and the
Deployment controller write them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from batchfleet_operator import names
from batchfleet_operator.decision import Object

PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
CREATE_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
QUOTA_EXCEEDED = "exceeded quota"
"""What the API server's words for a quota have in common."""
LAST_WORDS = 600
"""Characters of a container's last words that a condition repeats: the end, where errors are."""


@dataclass(frozen=True)
class Problem:
    """A reason of ours, and a message that names the pod."""

    reason: str
    message: str


@dataclass(frozen=True)
class Shortage:
    """No room for a pod more, which may pass."""

    since: datetime
    message: str


def pod_problem(pod: Object) -> Problem | None:
    """Why ``pod`` cannot serve; ``None`` where it is serving or simply still starting."""
    status = pod.get("status", {})
    name = pod["metadata"]["name"]
    for condition in status.get("conditions", []):
        if condition.get("type") == "Ready" and condition.get("status") == "True":
            return None
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            said = condition.get("message", "")
            return Problem(names.UNSCHEDULABLE, f"pod {name} fits no node: {said}")
    for container in _containers(status):
        problem = _container_problem(name, container)
        if problem is not None:
            return problem
    return None


def failed_starts(pod: Object) -> int:
    """How often the container that ended most often has ended, the pod as a whole included.

    Of a pod that is being deleted only restarts count: its containers end because they shall.
    """
    status = pod.get("status", {})
    leaving = "deletionTimestamp" in pod["metadata"]
    counts = [int(status.get("phase") == "Failed")]
    for container in _containers(status):
        state = container.get("state", {})
        backing_off = state.get("waiting", {}).get("reason") == "CrashLoopBackOff"
        down = backing_off or state.get("terminated", {}).get("exitCode", 0) != 0
        counts.append(container.get("restartCount", 0) + int(down and not leaving))
    return max(counts)


def refusal(deployment: Object) -> Problem | None:
    """Why the pods of ``deployment`` are refused by the API server: a quota, an admission rule."""
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            name = deployment["metadata"]["name"]
            said = condition.get("message", condition.get("reason", ""))
            return Problem(names.PODS_REFUSED, f"Deployment {name} may not create pods: {said}")
    return None


def out_of_quota(deployment: Object) -> Shortage | None:
    """A refusal that ends when another pod goes. Any other would only cost the pod that went."""
    refused = refusal(deployment)
    if refused is None or QUOTA_EXCEEDED not in refused.message:
        return None
    since = next(
        each.get("lastTransitionTime")
        for each in deployment["status"]["conditions"]
        if each.get("type") == "ReplicaFailure"
    )
    return None if since is None else Shortage(datetime.fromisoformat(since), refused.message)


def _containers(status: Object) -> Iterator[Object]:
    yield from status.get("initContainerStatuses", [])
    yield from status.get("containerStatuses", [])


def _container_problem(pod: str, container: dict[str, Any]) -> Problem | None:
    where = f"pod {pod}, container {container['name']}"
    waiting = container.get("state", {}).get("waiting", {})
    reason = waiting.get("reason", "")
    if reason in PULL_REASONS:
        said = waiting.get("message") or reason
        return Problem(
            names.IMAGE_PULL_FAILED, f"{where}: cannot pull {container.get('image')}: {said}"
        )
    if reason in CREATE_REASONS:
        return Problem(
            names.CONTAINER_FAILED, f"{where} cannot start: {waiting.get('message') or reason}"
        )
    ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get(
        "terminated"
    )
    if ended and (reason == "CrashLoopBackOff" or not container.get("ready", False)):
        return Problem(names.CONTAINER_FAILED, _ending(where, container, ended))
    return None


def _ending(where: str, container: dict[str, Any], ended: dict[str, Any]) -> str:
    """How a container ended, with its last words where it left any."""
    code, reason = ended.get("exitCode"), ended.get("reason", "Error")
    told = "out of memory" if reason == "OOMKilled" else f"exit code {code}"
    restarts = container.get("restartCount", 0)
    said = f"{where} ended with {told} and was restarted {restarts} times"
    words = (ended.get("message") or "").strip()[-LAST_WORDS:]
    return f"{said}; its last words: {words}" if words else said
