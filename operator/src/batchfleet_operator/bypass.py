"""Past the sidecars: where the Service sends clients while the annotation asks for the way out.

Comes before ``desired`` and ``status`` in ``plan``.  The Service has one target port for all pods,
so it leads past the sidecars only while every pod that stays has an engine that listens there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from batchfleet_operator import names
from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.conditions import Said
from batchfleet_operator.observed import Fleet
from batchfleet_operator.revision import Revision

ASKED = "true"
WITHDRAWN = ("false", "")


@dataclass(frozen=True)
class Bypass:
    """Where the Service leads, and what is said of it."""

    target_port: int
    said: Said | None  # None: nobody asks to go past the sidecars


def of(service: BatchInferenceService, fleet: Fleet, known: Mapping[int, Revision]) -> Bypass:
    """``known``: the revisions that pods may be of."""
    if service.bypass is None or service.bypass in WITHDRAWN:
        return Bypass(names.PORT_HTTP, None)
    refused = _refused(service)
    if refused is not None:
        return Bypass(names.PORT_HTTP, Said("False", names.BYPASS_NOT_ALLOWED, refused))
    port = _common_port(fleet, known)
    if port is None:
        said = "waiting until every pod has an engine that listens to clients"
        return Bypass(names.PORT_HTTP, Said("False", names.ROLLING_OUT, said))
    if service.spec.paused and not _leads_to(fleet, service.name, port):
        said = "spec.paused holds changes back: set it to false to go on"
        return Bypass(port, Said("False", names.PAUSED, said))
    said = (
        f"the Service leads to the engines' port {port}, past the sidecars: nothing is merged, "
        "limited or drained; remove the annotation to go back"
    )
    return Bypass(port, Said("True", names.BY_ANNOTATION, said))


def _refused(service: BatchInferenceService) -> str | None:
    annotation = names.ANNOTATION_BYPASS
    if service.bypass != ASKED:
        return f'annotation {annotation} is {service.bypass!r} and has no effect: write "{ASKED}"'
    if not service.spec.allows_bypass:
        return (
            f"annotation {annotation} has no effect: worker.bypass is not Allowed, so the engines "
            "listen to their sidecars only (allowing it restarts the pods)"
        )
    return None


def _common_port(fleet: Fleet, known: Mapping[int, Revision]) -> int | None:
    """Where all engines listen to clients; ``None``: not all do, or not at one port."""
    numbers = {pod.revision for pod in fleet.staying}
    ports = {known[number].bypass_port if number in known else None for number in numbers}
    return ports.pop() if len(ports) == 1 else None


def _leads_to(fleet: Fleet, name: str, port: int) -> bool:
    there = fleet.owned.get((names.SERVICE.kind, name), {})
    return any(each.get("targetPort") == port for each in there.get("spec", {}).get("ports", []))
