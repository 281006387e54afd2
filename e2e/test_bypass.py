"""The way out: an annotation leads clients past the sidecars and back, without a restart."""

from __future__ import annotations

from e2e.support.fixtures import Serve
from e2e.support.fleet import KIND, Fleet
from e2e.support.kube import Kube
from e2e.support.load import Answer, Load, ask
from e2e.support.services import MODEL
from e2e.support.wait import NotYetError, until

ANNOTATION = "batchfleet.io/bypass"
WITHIN_SECONDS = 60.0


def annotate(fleet: Fleet, value: str | None) -> None:
    fleet.kube.patch(KIND, fleet.name, {"metadata": {"annotations": {ANNOTATION: value}}})


def once(clients: Kube, fleet: Fleet) -> Answer:
    (answer,) = ask(clients, Load(fleet.url, MODEL, 1, max_tokens=2)).answers
    return answer


def wait_until_led(clients: Kube, fleet: Fleet, *, past_the_sidecar: bool) -> None:
    """A new connection goes one way or the other, and is answered either way."""

    def look() -> None:
        answer = once(clients, fleet)
        assert answer.outcome == "complete", answer.why
        if ("x-batchfleet-result" in answer.headers) == past_the_sidecar:
            raise NotYetError(f"answered with {sorted(answer.headers)}")

    until("the Service leads the other way", look, within_seconds=WITHIN_SECONDS)


def test_the_annotation_leads_past_the_sidecars_and_back(serve: Serve, clients: Kube) -> None:
    fleet = serve(
        args=["--host=0.0.0.0"],  # a Custom engine listens to clients by itself
        worker={"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}, "bypass": "Allowed"},
    )
    before = fleet.pods()
    assert "x-batchfleet-result" in once(clients, fleet).headers

    annotate(fleet, "true")
    fleet.wait_for("Bypassed", within_seconds=WITHIN_SECONDS, saying=["ByAnnotation", "8000"])
    wait_until_led(clients, fleet, past_the_sidecar=True)

    annotate(fleet, None)
    wait_until_led(clients, fleet, past_the_sidecar=False)

    def look() -> None:
        told = [one["type"] for one in fleet.object()["status"]["conditions"]]
        if "Bypassed" in told:
            raise NotYetError(f"{told}")

    until("the condition is gone", look, within_seconds=WITHIN_SECONDS)
    assert fleet.pods() == before  # the same UIDs, and no container restarted


def test_where_it_is_not_allowed_the_annotation_only_says_why(serve: Serve, clients: Kube) -> None:
    fleet = serve()
    annotate(fleet, "true")
    fleet.wait_for("Bypassed", "False", within_seconds=WITHIN_SECONDS, saying=["BypassNotAllowed"])
    assert "x-batchfleet-result" in once(clients, fleet).headers
