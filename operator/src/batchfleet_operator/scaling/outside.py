"""Who else sizes the fleet: a write of ``spec.replicas`` through the scale subresource.

With ``spec.autoscaling`` set that number is only where the fleet starts, so an HPA, a KEDA or a
``kubectl scale`` pulls a lever that moves nothing; ``ScalingActive`` names it.  The API server
notes the writer of every field in ``metadata.managedFields``.
"""

from __future__ import annotations

from batchfleet_operator.byhand import writers
from batchfleet_operator.decision import Object

SCALE = "scale"
HPA_MANAGER = "kube-controller-manager"


def outside_writer(service: Object) -> str | None:
    """Who wrote ``spec.replicas`` last through ``/scale``; ``None``: nobody, or no autoscaling.

    ``service``: the object as the API server prints it.
    """
    if service.get("spec", {}).get("autoscaling") is None:
        return None
    writes = [each for each in writers(service, "f:replicas") if each.get("subresource") == SCALE]
    if not writes:
        return None
    last = max(writes, key=lambda each: str(each.get("time", "")))
    manager = str(last.get("manager") or "somebody")
    return f"a HorizontalPodAutoscaler ({manager})" if manager == HPA_MANAGER else manager
