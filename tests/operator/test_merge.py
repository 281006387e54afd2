"""Strategic merge, as `kubectl patch` does it to pods."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchfleet_operator.merge import merge

POD = {
    "containers": [
        {
            "name": "engine",
            "image": "a",
            "args": ["1", "2"],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "volumeMounts": [{"name": "shm", "mountPath": "/s"}],
        }
    ],
    "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
    "tolerations": [{"key": "a"}],
    "nodeSelector": {"a": "1"},
}


@pytest.mark.parametrize(
    ("over", "path", "expected"),
    [
        ({"containers": [{"name": "engine", "image": "b"}]}, "containers.0.image", "b"),
        ({"containers": [{"name": "engine", "image": "b"}]}, "containers.0.args", ["1", "2"]),
        ({"containers": [{"name": "engine", "args": ["3"]}]}, "containers.0.args", ["3"]),
        (
            {"containers": [{"name": "engine", "env": [{"name": "B", "value": "3"}]}]},
            "containers.0.env",
            [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}],
        ),
        (
            {"containers": [{"name": "engine", "env": [{"name": "B", "valueFrom": {"x": 1}}]}]},
            "containers.0.env.1",
            {"name": "B", "valueFrom": {"x": 1}},
        ),
        (
            {"containers": [{"name": "engine", "env": [{"name": "A", "$patch": "delete"}]}]},
            "containers.0.env",
            [{"name": "B", "value": "2"}],
        ),
        (
            {
                "containers": [
                    {"name": "engine", "volumeMounts": [{"name": "m", "mountPath": "/m"}]}
                ]
            },
            "containers.0.volumeMounts.1.name",
            "m",
        ),
        ({"containers": [{"name": "log"}]}, "containers.1.name", "log"),
        (
            {"volumes": [{"name": "shm", "hostPath": {}}]},
            "volumes",
            [{"name": "shm", "hostPath": {}}],
        ),
        ({"tolerations": [{"key": "b"}]}, "tolerations", [{"key": "b"}]),
        ({"nodeSelector": {"b": "2"}}, "nodeSelector", {"a": "1", "b": "2"}),
        ({"nodeSelector": {"$patch": "replace", "b": "2"}}, "nodeSelector", {"b": "2"}),
        ({"nodeSelector": {"a": None}}, "nodeSelector", {}),
        ({"volumes": [{"$patch": "replace"}, {"name": "b"}]}, "volumes", [{"name": "b"}]),
        ({"containers": "nonsense"}, "containers", "nonsense"),
        ({"containers": ["nonsense"]}, "containers", ["nonsense"]),
        ({"containers": [{"name": ["a"]}]}, "containers", [{"name": ["a"]}]),
    ],
)
def test_as_kubernetes_merges(over: dict[str, Any], path: str, expected: Any) -> None:
    found: Any = merge(POD, over)
    for part in path.split("."):
        found = found[int(part)] if part.isdigit() else found[part]
    assert found == expected


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["containers", "env", "name", "value", "volumes", "a"]), inner
        )
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(["containers", "env", "volumes", "a", "spec"]), json)


@given(objects, objects)
def test_nonsense_is_passed_on_for_the_api_server_to_refuse(
    under: dict[str, Any], over: dict[str, Any]
) -> None:
    merge(under, over)


@given(objects)
def test_merging_again_changes_nothing(over: dict[str, Any]) -> None:
    once = merge(POD, over)
    assert merge(once, over) == once


@given(objects)
def test_nothing_laid_over_changes_nothing(under: dict[str, Any]) -> None:
    assert merge(under, {}) == under
