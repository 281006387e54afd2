"""How differences are told."""

from __future__ import annotations

from batchfleet_operator.survey import differences


def test_every_place_that_differs_is_named() -> None:
    old = {"spec": {"replicas": 1, "ports": [{"port": 80}, {"port": 81}], "paused": True}}
    new = {"spec": {"replicas": 3, "ports": [{"port": 80}, {"port": 82}], "selector": {}}}
    assert list(differences(old, new)) == [
        "spec.paused: true -> null",
        "spec.ports[1].port: 81 -> 82",
        "spec.replicas: 1 -> 3",
        "spec.selector: null -> {}",
    ]
    assert list(differences(old, old)) == []
    assert list(differences({"a": [1]}, {"a": [1, 2]})) == ["a: [1] -> [1, 2]"]
