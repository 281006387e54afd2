"""Somebody edits or deletes a child by hand: it is put back."""

from __future__ import annotations

from collections.abc import Callable

from e2e.support.fixtures import Serve
from e2e.support.fleet import Fleet
from e2e.support.wait import NotYetError, until

PUT_BACK_SECONDS = 60  # seconds apart from a watch, minutes without one


def test_drifted_children_are_put_back(serve: Serve) -> None:
    fleet = serve()
    kube = fleet.kube
    (before,) = fleet.pods()
    service = kube.get("service", "chat")["spec"]
    settings = kube.get("configmap", "chat-1-live")["data"]
    budget = kube.get("poddisruptionbudget", "chat")["metadata"]["uid"]

    kube.patch("service", "chat", {"spec": {"selector": {"app": "somebody-elses"}}})
    kube.patch("configmap", "chat-1-live", {"data": {"settings.json": "{}"}})
    kube.patch("deployment", "chat-1", {"spec": {"replicas": 0}})
    kube.delete("poddisruptionbudget", "chat")

    def selector() -> object:
        seen = dict(kube.get("service", "chat")["spec"]["selector"])
        seen.pop("app", None)  # a label that we never set is the editor's to keep
        return seen

    put_back(fleet, "the Service's selector", selector, service["selector"])
    put_back(fleet, "live settings", lambda: kube.get("configmap", "chat-1-live")["data"], settings)
    put_back(fleet, "replicas", lambda: kube.get("deployment", "chat-1")["spec"]["replicas"], 1)

    def new_budget() -> bool:
        found = kube.find("poddisruptionbudget", "chat")
        return found is not None and found["metadata"]["uid"] != budget

    put_back(fleet, "the disruption budget", new_budget, True)
    (pod,) = fleet.wait_ready(1)
    assert pod.revision == before.revision


def put_back(fleet: Fleet, what: str, seen: Callable[[], object], wanted: object) -> None:
    def look() -> None:
        if (now := seen()) != wanted:
            raise NotYetError(f"{now!r} in place of {wanted!r}")

    until(f"{fleet.name}: {what} put back", look, within_seconds=PUT_BACK_SECONDS)
