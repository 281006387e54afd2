"""Why a new revision has failed by what its pods do, without any metrics.

Comes before the judging in ``rollout``: a revision whose pods do not even start needs no canary.
What is nobody's fault (no node with room, a quota) is not counted: it may pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from batchfleet_operator import names
from batchfleet_operator.observed import Pod

FAILED_STARTS = 2
"""One may be the node's fault, or a hiccup of the model's source."""


def failed_starts(pods: Sequence[Pod]) -> str | None:
    """Why these pods, leaving ones included, have failed to start twice; ``None``: not yet."""
    failed = [pod for pod in pods if pod.failed_starts]
    count = sum(pod.failed_starts for pod in failed)
    if count < FAILED_STARTS:
        return None
    words = next((pod.problem.message for pod in failed if pod.problem is not None), None)
    said = words or f"containers of pod {failed[0].name} ended before they were ready"
    return f"its pods failed to start twice: {said}"


def stuck(pods: Sequence[Pod], allowed: timedelta, now: datetime) -> str | None:
    """Why these pods take too long; ``None``: they do not."""
    late = [
        pod
        for pod in pods
        if not pod.leaving and not pod.ready and pod.waiting_since <= now - allowed
        if pod.problem is None or pod.problem.reason != names.UNSCHEDULABLE
    ]
    if not late:
        return None
    said = f"pod {late[0].name} is not ready after {allowed.total_seconds():g} seconds"
    problem = late[0].problem
    return said if problem is None else f"{said}: {problem.message}"
