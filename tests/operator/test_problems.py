"""What a condition says about a pod that does not serve."""

from __future__ import annotations

from typing import Any

import pytest

from batchfleet_operator import names
from batchfleet_operator.problems import LAST_WORDS, pod_problem


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "chat-1-x-y"}, "status": status}


def engine(**fields: Any) -> dict[str, Any]:
    state = {"name": "engine", "image": "img", "ready": False, "restartCount": 0, **fields}
    return pod(containerStatuses=[state])


@pytest.mark.parametrize(
    ("broken", "reason", "words"),
    [
        (
            engine(state={"waiting": {"reason": "ErrImagePull", "message": "not found"}}),
            names.IMAGE_PULL_FAILED,
            "pod chat-1-x-y, container engine: cannot pull img: not found",
        ),
        (
            engine(
                restartCount=4,
                state={"waiting": {"reason": "CrashLoopBackOff"}},
                lastState={"terminated": {"exitCode": 1, "message": "ValueError: no\n"}},
            ),
            names.CONTAINER_FAILED,
            "exit code 1 and was restarted 4 times; its last words: ValueError: no",
        ),
        (
            engine(
                restartCount=1,
                state={"running": {}},
                lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            ),
            names.CONTAINER_FAILED,
            "ended with out of memory",
        ),
        (
            engine(
                state={
                    "waiting": {
                        "reason": "CreateContainerConfigError",
                        "message": 'secret "hf" not found',
                    }
                }
            ),
            names.CONTAINER_FAILED,
            'cannot start: secret "hf" not found',
        ),
        (
            pod(
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/1 nodes: 1 Insufficient nvidia.com/gpu",
                    }
                ]
            ),
            names.UNSCHEDULABLE,
            "Insufficient nvidia.com/gpu",
        ),
        (
            pod(
                initContainerStatuses=[
                    {
                        "name": "sidecar",
                        "image": "worker",
                        "state": {"waiting": {"reason": "ImagePullBackOff"}},
                    }
                ]
            ),
            names.IMAGE_PULL_FAILED,
            "container sidecar: cannot pull worker",
        ),
    ],
)
def test_it_names_the_pod_and_repeats_what_was_said(
    broken: dict[str, Any], reason: str, words: str
) -> None:
    problem = pod_problem(broken)
    assert problem is not None
    assert problem.reason == reason
    assert words in problem.message
    assert "chat-1-x-y" in problem.message


@pytest.mark.parametrize(
    "fine",
    [
        pod(),
        engine(state={"running": {}}),
        engine(state={"waiting": {"reason": "PodInitializing"}}),
        pod(
            conditions=[{"type": "Ready", "status": "True"}],
            containerStatuses=[
                {"name": "engine", "ready": True, "lastState": {"terminated": {"exitCode": 1}}}
            ],
        ),
    ],
)
def test_starting_or_serving_is_no_problem(fine: dict[str, Any]) -> None:
    assert pod_problem(fine) is None


def test_long_last_words_are_cut_to_their_end() -> None:
    told = "x" * 5000 + "the error"
    problem = pod_problem(
        engine(
            state={"waiting": {"reason": "CrashLoopBackOff"}},
            lastState={"terminated": {"exitCode": 1, "message": told}},
        )
    )
    assert problem is not None
    assert problem.message.endswith("the error")
    assert len(problem.message) < LAST_WORDS + 200
