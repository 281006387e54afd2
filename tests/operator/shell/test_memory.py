"""What counts as done already, and what does not."""

from __future__ import annotations

import copy

import pytest

from batchfleet_operator.decision import Object
from batchfleet_operator.memory import Memory

WANTED: Object = {"kind": "Deployment", "metadata": {"name": "chat-1"}, "spec": {"replicas": 1}}


def live(**metadata: object) -> Object:
    return {
        "metadata": {
            "name": "chat-1",
            "uid": "u",
            "generation": 1,
            "resourceVersion": "5",
            "labels": {"app": "a"},
        }
        | metadata,
        "status": {"readyReplicas": 0},
    }


def test_what_was_applied_and_has_not_changed_since_is_settled() -> None:
    memory = Memory("uid")
    assert not memory.settled(WANTED, live())
    memory.applied(WANTED, live())
    assert memory.settled(copy.deepcopy(WANTED), live(resourceVersion="9"))  # a status
    assert not memory.settled(WANTED | {"spec": {"replicas": 2}}, live())
    assert not memory.settled(WANTED, None)


@pytest.mark.parametrize(
    "change", [{"generation": 2}, {"labels": {}}, {"uid": "v"}, {"ownerReferences": []}]
)
def test_a_drift_of_the_object_is_not_settled(change: Object) -> None:
    memory = Memory("uid")
    memory.applied(WANTED, live())
    assert not memory.settled(WANTED, live(**change))


def test_a_kind_without_generations_is_known_by_its_version() -> None:
    settings = WANTED | {"kind": "ConfigMap"}
    before, after = live(), live(resourceVersion="6")
    del before["metadata"]["generation"], after["metadata"]["generation"]
    memory = Memory("uid")
    memory.applied(settings, before)
    assert memory.settled(settings, before)
    assert not memory.settled(settings, after)


@pytest.mark.parametrize(
    ("kept", "pruned"),
    [
        ({"images": {"engine": "e"}, "conditions": [{"type": "Ready"}]}, None),
        ({"images": {"engine": "e"}, "conditions": [{"type": "Ready"}], "more": 1}, None),
        ({"images": {}, "conditions": [{"type": "Ready"}]}, "status.images.engine"),
        ({"conditions": [{"type": "Ready"}]}, "status.images"),
        ({"images": {"engine": "e"}, "conditions": [{}]}, "status.conditions.type"),
        ({"images": {"engine": "e"}, "conditions": []}, "status.conditions"),
        ({}, "status.images"),
    ],
)
def test_the_first_field_that_the_server_did_not_keep_is_named(
    kept: Object, pruned: str | None
) -> None:
    wanted = {"images": {"engine": "e"}, "conditions": [{"type": "Ready"}]}
    memory = Memory("uid")
    memory.status_written(wanted, kept)
    assert memory.pruned() == pruned
    assert memory.status_is(wanted, kept)  # there is no use in writing it again
