"""Our images in kind's node, each under a tag that names its content.

An image that did not change is not loaded again, and one that did is a new image to whoever uses
it: pods are replaced, not left on the old program behind the same tag.
"""

from __future__ import annotations

from dataclasses import dataclass

from e2e.kind import cluster, engine, images, steps

_LIBRARY = "docker.io/library/"  # how containerd writes a name without a registry


@dataclass(frozen=True)
class Node:
    """The one node of a kind cluster that is up."""

    name: str  # of the cluster
    engine: engine.Engine

    @classmethod
    def of(cls, name: str) -> Node:
        found = engine.find()
        if found is None:
            raise steps.SetupError(f"no Docker engine runs the cluster {name}")
        return cls(name, found)

    def has(self, image: str) -> bool:
        listed = self.engine.read("exec", self._container, *_CTR, "images", "ls", "--quiet") or ""
        return _LIBRARY + image in listed.split()

    def tag(self, image: str, also: str) -> None:
        """Give an image of the node another name. Raises CommandFailed."""
        names = (_LIBRARY + image, _LIBRARY + also)
        self.engine.run("exec", self._container, *_CTR, "images", "tag", "--force", *names)

    def load(self, name: str) -> str:
        """Have the image of this name in ``e2e.kind.images``; returns how pods must name it."""
        archive = images.build(name)
        built = images.tag(name)
        content = archive.name.rpartition("-")[2]
        image = f"{built.rpartition(':')[0]}:{content}"
        if not self.has(image):
            cluster.load([archive], self.name)
            self.tag(built, image)
        return image

    @property
    def _container(self) -> str:
        return f"{self.name}-control-plane"


_CTR = ("ctr", "--namespace=k8s.io")
