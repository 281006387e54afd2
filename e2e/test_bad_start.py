"""What keeps a pod from starting is told in the conditions, and what ran goes on."""

from __future__ import annotations

from e2e.support.fixtures import Serve
from e2e.support.kube import Kube
from e2e.support.load import Load, ask
from e2e.support.services import MODEL

NO_SUCH_IMAGE = "registry.invalid/no/such:1"


def test_an_image_that_cannot_be_pulled(serve: Serve, clients: Kube) -> None:
    fleet = serve()
    (before,) = fleet.pods()

    fleet.patch_spec(engine={"image": NO_SUCH_IMAGE})
    fleet.wait_for("Ready", "False", within_seconds=150, saying=[NO_SUCH_IMAGE])

    # The revision that works keeps working.
    fleet.wait_for("Available", within_seconds=30)
    assert ask(clients, Load(fleet.url, MODEL, 2, unique=True)).failures == []
    assert before in fleet.pods()


def test_an_engine_that_dies_at_start(serve: Serve) -> None:
    fleet = serve(wait=False, args=["--no-such-flag"])

    told = fleet.wait_for("Ready", "False", within_seconds=150, saying=["engine", "--no-such-flag"])

    print(f"{told['reason']}: {told['message']}")
    (pod,) = fleet.pods()
    assert pod.name in told["message"]
