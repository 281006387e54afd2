"""An engine field changes: the new revision takes over without a failed request."""

from __future__ import annotations

from e2e.support.fixtures import Serve
from e2e.support.fleet import Fleet
from e2e.support.kube import Kube
from e2e.support.load import Load, running
from e2e.support.services import MODEL
from e2e.support.wait import NotYetError, until


def test_a_new_revision_rolls_out_under_load(serve: Serve, clients: Kube) -> None:
    fleet = serve(replicas=2)
    before = {pod.uid for pod in fleet.pods()}
    arguments = fleet.object()["spec"]["engine"]["args"]
    forever = Load(fleet.url, MODEL, 6, requests=0, stream="mixed", unique=True)

    with running(clients, forever) as load:
        fleet.patch_spec(engine={"args": [*arguments, "--max-num-seqs=32"]})
        pods = fleet.wait_ready(2, within_seconds=120)
        fleet.wait_gone(before)
        account = load.stop()

    assert account.failures == []
    assert len(account.answers) > 20
    assert {pod.revision for pod in pods} == {2}
    assert fleet.total("batchfleet_engine_calls_total") > 0

    def tidy() -> None:
        if (left := names(fleet, "deployments")) != ["chat-2"]:
            raise NotYetError(f"{left}")

    until("the old revision has no Deployment", tidy, within_seconds=60)
    assert names(fleet, "controllerrevisions") == ["chat-1", "chat-2"]


def names(fleet: Fleet, kind: str) -> list[str]:
    return sorted(one["metadata"]["name"] for one in fleet.kube.list(kind, fleet.selector))
