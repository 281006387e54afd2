"""One revision: what it was cut from, what that was rendered to, and what its pods are like.

Stored as a ControllerRevision; which one is wanted is decided in ``revisions``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from batchfleet_operator import engine
from batchfleet_operator.api import GPU, Engine
from batchfleet_operator.api.access import Access
from batchfleet_operator.api.rollout import Restart
from batchfleet_operator.api.schema import Model
from batchfleet_operator.api.service import Drain, PodTemplate, Spec
from batchfleet_operator.api.worker import Worker
from batchfleet_operator.decision import Object


class Inputs(Model):
    """What a pod depends on. Every other field of the spec is live, or not about pods."""

    engine: Engine
    gpu: GPU | None = None
    worker: Worker | None = None
    access: Access | None = None  # only what pods depend on: Access.of_pods
    pod_template: PodTemplate | None = None
    drain: Drain | None = None
    restart: Restart | None = None

    def normal(self) -> Object:
        """As stored and compared: unset and empty parts are left out."""
        return {name: value for name, value in self.as_json().items() if value != {}}


@dataclass(frozen=True)
class Revision:
    """A stored or about to be stored revision."""

    number: int
    data: Object  # {inputs, images, drainSeconds, template}

    @property
    def template(self) -> Object:
        template: Object = self.data["template"]
        return template

    @property
    def images(self) -> Mapping[str, str]:
        images: Mapping[str, str] = self.data["images"]
        return images

    def serves(self, wanted: Object, spec: Spec) -> bool:
        """Whether pods of this revision are what ``spec`` asks for.

        Where the spec leaves the time to drain open, any that covers the longest request will do:
        shortening ``requests.timeoutSeconds`` stays a live change.
        """
        covered = spec.requests.timeout_seconds <= self.data.get("drainSeconds", 0)
        read = self._inputs
        mine = self.data["inputs"] if read is None else read.normal()
        return mine == wanted and (covered or "drain" in wanted)

    @property
    def engine(self) -> Engine | None:
        """The engine as its pods run it; ``None`` where another version's models wrote it."""
        inputs = self._inputs
        return None if inputs is None else inputs.engine

    @property
    def bypass_port(self) -> int | None:
        """Where its engines listen to clients; ``None``: only to their sidecars."""
        inputs = self._inputs
        if inputs is None or inputs.worker is None or inputs.worker.bypass != "Allowed":
            return None
        return engine.port(inputs.engine)

    @property
    def trusts_header(self) -> bool:
        """Whether its pods believe a header, whoever sends it."""
        inputs = self._inputs
        return (
            inputs is not None
            and inputs.access is not None
            and inputs.access.type == "TrustedHeader"
        )

    @cached_property
    def _inputs(self) -> Inputs | None:
        """As today's models read them; ``None`` where they cannot."""
        try:
            return Inputs.parse(self.data["inputs"])
        except ValidationError:
            return None


def inputs(spec: Spec) -> Object:
    """The part of ``spec`` that a revision is cut from."""
    return Inputs(
        engine=spec.engine,
        gpu=spec.gpu,
        worker=spec.worker,
        access=spec.access.of_pods,
        pod_template=spec.pod_template,
        drain=spec.drain,
        restart=spec.restart,
    ).normal()
