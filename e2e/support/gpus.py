"""GPUs for a cluster that has none: an extended resource that a node is said to have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.support.kube import Kube

RESOURCE = "e2e.batchfleet.io/gpu"  # not nvidia.com/gpu: a cluster of one's own may have real ones


@contextmanager
def installed(kube: Kube, count: int) -> Iterator[None]:
    """Within the block a node of the cluster says that it has so many GPUs."""
    node = kube.list("nodes")[0]["metadata"]["name"]
    pointer = RESOURCE.replace("/", "~1")
    paths = [f"/status/capacity/{pointer}", f"/status/allocatable/{pointer}"]
    add = [{"op": "add", "path": path, "value": str(count)} for path in paths]
    kube.patch("node", node, add, subresource="status")
    try:
        yield
    finally:
        remove = [{"op": "remove", "path": path} for path in paths]
        kube.patch("node", node, remove, subresource="status")
