"""A Service of the same name that is not ours is left alone, and named in a condition."""

from __future__ import annotations

from e2e.support.fixtures import Serve
from e2e.support.kube import Kube


def test_somebody_elses_service_is_left_alone(serve: Serve, kube: Kube) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "chat", "labels": {"owner": "somebody-else"}},
        "spec": {"selector": {"app": "somebody-else"}, "ports": [{"port": 1234}]},
    }
    kube.create(theirs)
    before = kube.get("service", "chat")

    fleet = serve(wait=False)
    told = fleet.wait_for("Ready", "False", within_seconds=60, saying=["Service", "chat"])

    assert told["reason"] == "NameConflict"
    assert kube.get("service", "chat") == before  # down to its resourceVersion

    kube.delete("service", "chat", wait=True)
    fleet.wait_ready(1)
    owners = kube.get("service", "chat")["metadata"]["ownerReferences"]
    assert [owner["kind"] for owner in owners] == ["BatchInferenceService"]
