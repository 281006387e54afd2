"""kubectl delete → nothing is left, and nothing had to be finalized."""

from __future__ import annotations

from e2e.support.fixtures import Serve
from e2e.support.fleet import KIND
from e2e.support.wait import NotYetError, until


def test_delete_leaves_nothing(serve: Serve) -> None:
    fleet = serve(replicas=2)
    held = [fleet.object(), *fleet.children()]
    assert [one["metadata"]["name"] for one in held if one["metadata"].get("finalizers")] == []

    fleet.kube.delete(KIND, fleet.name)

    def look() -> None:
        left = [f"{one['kind']}/{one['metadata']['name']}" for one in fleet.children()]
        if left or fleet.kube.find(KIND, fleet.name):
            raise NotYetError(f"left: {', '.join(left)}")

    until("nothing is left", look, within_seconds=150)
