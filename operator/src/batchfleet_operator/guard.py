"""Who may connect to the data port: anybody, or those who set a trusted header.

Comes before ``desired`` in ``plan``.  One NetworkPolicy guards the pods of all revisions, so it
stays closed until the last pod is gone that believes the header of whoever connects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchfleet_operator import names
from batchfleet_operator.api.access import Peer
from batchfleet_operator.api.service import BatchInferenceService
from batchfleet_operator.decision import Object
from batchfleet_operator.observed import Fleet
from batchfleet_operator.revision import Revision


def peers(
    service: BatchInferenceService, fleet: Fleet, known: Mapping[int, Revision]
) -> Sequence[Object] | None:
    """NetworkPolicyPeers; empty: nobody, ``None``: anybody.  ``known``: pods' revisions."""
    header = service.spec.access.trusted_header
    if header is not None:
        return [_peer(each) for each in header.from_ or ()]
    running = {pod.revision for pod in fleet.staying}
    if any(known[number].trusts_header for number in running if number in known):
        return _admitted(fleet.owned.get((names.NETWORK_POLICY.kind, service.name), {}))
    return None


def _peer(peer: Peer) -> Object:
    """CEL holds that it selects something less than everything."""
    selectors = {"namespaceSelector": peer.namespace_labels, "podSelector": peer.pod_labels}
    return {
        name: {"matchLabels": labels} for name, labels in selectors.items() if labels is not None
    }


def _admitted(policy: Object) -> Sequence[Object]:
    """Whom the policy that is there lets in."""
    for rule in policy.get("spec", {}).get("ingress", []):
        if any(each.get("port") == names.PORT_HTTP for each in rule.get("ports", [])):
            found: Sequence[Object] = rule.get("from", [])
            return found
    return []
