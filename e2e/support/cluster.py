"""The cluster that the tests and the demo run on: kind, made for them, or one of one's own."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.kind import binaries, cache, steps
from e2e.kind import cluster as kind_cluster
from e2e.support.kube import Kube, default_kubeconfig
from e2e.support.node_images import Node


@dataclass(frozen=True)
class Images:
    """What the tests run; the cluster has these, or can pull them."""

    worker: str
    operator: str
    next_operator: str  # the same program under another name
    vllm: str = ""  # empty: not in this cluster
    prometheus: str = ""
    prometheus_operator: str = ""
    prometheus_config_reloader: str = ""


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers, with the programs to speak to it."""

    kube: Kube
    helm: Path
    images: Images


def current(worker_image: str, operator_image: str, prometheus_image: str) -> Cluster:
    """The cluster of the user's own kubeconfig. Raises SetupError when something is missing."""
    if not (worker_image and operator_image and prometheus_image):
        raise steps.SetupError(
            "--cluster=current needs --worker-image, --operator-image and --prometheus-image:"
            " images that the cluster can pull; the first two are made from worker/Dockerfile and"
            " operator/Dockerfile"
        )
    found = Images(
        worker=worker_image,
        operator=operator_image,
        next_operator=operator_image,
        prometheus=prometheus_image,
    )
    return Cluster(Kube(_program("kubectl"), default_kubeconfig()), _program("helm"), found)


@contextmanager
def kind(name: str, extras: Collection[str], *, keep: bool) -> Iterator[Cluster]:
    """A kind cluster with our images in it; gone at the end unless kept.

    It is this run's alone: another one would upgrade and uninstall the operator beneath its tests.
    """
    with cache.lock(f"run-{name}"):
        try:
            yield start_kind(name, extras)
        finally:
            if not keep:
                kind_cluster.down(name)


def start_kind(name: str, extras: Collection[str] = ()) -> Cluster:
    """Bring the cluster up unless it is, and load the images that it lacks. Raises SetupError.

    ``extras`` are images of ``e2e.kind.images`` beside our own that this run needs.
    """
    kubeconfig = kind_cluster.up(name)
    node = Node.of(name)
    operator = node.load("operator")
    following = f"{operator}-next"
    node.tag(operator, following)
    loaded = Images(
        worker=node.load("worker"),
        operator=operator,
        next_operator=following,
        **{extra.replace("-", "_"): node.load(extra) for extra in extras},
    )
    return Cluster(Kube(binaries.path("kubectl"), kubeconfig), binaries.path("helm"), loaded)


def _program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise steps.SetupError(f"{name} is not on the PATH")
    return Path(found)
