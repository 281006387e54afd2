"""``BatchInferenceService``: the object that people write.

Fields are only ever added.  Rules over several fields are CEL, so that ``kubectl apply`` refuses
with a sentence that says what to write instead.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from batchfleet_operator import names
from batchfleet_operator.api.engine import GPU, Engine
from batchfleet_operator.api.schema import (
    MAX_REPLICAS,
    Image,
    LabelValue,
    Model,
    Opaque,
    Quantity,
    Rule,
    Word,
    rules,
)

Seconds = Annotated[int, Field(ge=1, le=86_400)]

BATCH_HEADROOM = 4
"""How far a live limit may exceed the engine's batch: keeps it full while answers leave."""


class Amounts(Model):
    """Resources of one container."""

    cpu: Quantity | None = Field(default=None, description='CPU, such as "500m".')
    memory: Quantity | None = Field(default=None, description='Memory, such as "256Mi".')


def _at_most(resource: str) -> str:
    asked, limit = f"self.requests.{resource}", f"self.limits.{resource}"
    return (
        f"!has(self.requests) || !has(self.limits) || !has({asked}) || !has({limit}) || "
        f"quantity({asked}).compareTo(quantity({limit})) <= 0"
    )


class Resources(Model):
    """What a container asks for and is held to."""

    model_config = rules(
        Rule(_at_most("cpu"), "worker.resources: lower requests.cpu, or raise limits.cpu to it."),
        Rule(
            _at_most("memory"), "worker.resources: lower requests.memory, or raise limits.memory."
        ),
    )

    requests: Amounts | None = Field(default=None, description="What is reserved on the node.")
    limits: Amounts | None = Field(default=None, description="What is never exceeded.")


class Worker(Model):
    """The sidecar in front of the engine."""

    image: Image | None = Field(
        default=None,
        description="Image of the sidecar; unset: the chart's when the revision is cut.",
    )
    resources: Resources | None = Field(
        default=None,
        description="Resources of the sidecar; unset: 100m CPU, 128Mi to 512Mi memory.",
    )


class PodTemplate(Model):
    """What is laid over the rendered pod."""

    metadata: Opaque | None = Field(default=None, description="Labels and annotations of the pods.")
    spec: Opaque | None = Field(
        default=None, description="Fields of the pod; its containers by name."
    )


class Batching(Model):
    """Live settings of the batch: a change reaches running pods in seconds, without restarts."""

    model_config = rules(
        Rule(
            "self.maxWaitMilliseconds == 0 || self.maxQueueLength > 0",
            "batching.maxWaitMilliseconds holds requests in the queue, which maxQueueLength 0 "
            "forbids: set the wait to 0, or allow a queue.",
        )
    )

    mode: Literal["Fixed"] = Field(
        default="Fixed", description="Fixed: the limit is maxBatchSize, as written."
    )
    max_batch_size: Annotated[int, Field(ge=1, le=65_540)] | None = Field(
        default=None,
        description="Most requests in flight per pod; unset: engine.maxNumSeqs, or no limit where "
        "that is unset too.",
    )
    max_wait_milliseconds: Annotated[int, Field(ge=0, le=60_000)] = Field(
        default=0,
        description="How long to hold requests back to fill a batch. vLLM batches continuously: "
        "waiting in front of it only adds the wait.",
    )
    max_queue_length: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=1000, description="Most requests that wait per pod; more are refused with 429."
    )


class Merging(Model):
    """Requests that are equal in all that can change the answer share one engine call."""

    mode: Literal["Disabled", "Observe", "Enforce"] = Field(
        default="Enforce",
        description="Enforce merges deterministic requests that are exactly equal; Observe only "
        "counts what would be merged.",
    )


class Access(Model):
    """Who may send requests."""

    type: Literal["Open"] = Field(default="Open", description="Open: whoever reaches the Service.")


class Requests(Model):
    """Limits of single requests."""

    timeout_seconds: Seconds = Field(
        default=300,
        description="Longest time from a request's arrival to the end of its answer. "
        "Live, but for what drain.timeoutSeconds says.",
    )


class Rollout(Model):
    """How pods of a new revision replace the old ones."""

    model_config = rules(
        Rule(
            "self.maxSurge > 0 || self.maxUnavailable > 0",
            "rollout.maxSurge and rollout.maxUnavailable are both 0, so no pod could ever be "
            "replaced: set maxSurge to 1, or maxUnavailable to 1 where there is no spare GPU.",
        )
    )

    max_surge: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = Field(
        default=1, description="How many pods may exist above replicas during a rollout."
    )
    max_unavailable: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = Field(
        default=0, description="How many ready pods below replicas a rollout may go."
    )
    progress_deadline_seconds: Annotated[int, Field(ge=30, le=86_400)] = Field(
        default=1800, description="After how long a pod that is not ready counts as stuck."
    )


class Drain(Model):
    """How a pod leaves."""

    timeout_seconds: Seconds | None = Field(
        default=None,
        description="How long a leaving pod finishes what it has begun; unset: "
        "requests.timeoutSeconds, and raising that restarts pods too, one by one.",
    )


class Monitoring(Model):
    """How Prometheus finds the pods."""

    labels: Annotated[dict[Word, LabelValue], Field(max_length=16)] | None = Field(
        default=None, description="Labels of the PodMonitor, where that kind is installed."
    )


class Spec(Model):
    """What is wanted."""

    model_config = rules(
        Rule(
            "self.engine.type != 'vLLM' || !has(self.gpu) || "
            "(has(self.engine.tensorParallelSize) ? self.engine.tensorParallelSize : 1) * "
            "(has(self.engine.pipelineParallelSize) ? self.engine.pipelineParallelSize : 1) * "
            "(has(self.engine.dataParallelSize) ? self.engine.dataParallelSize : 1) == "
            "self.gpu.count",
            "engine.tensorParallelSize × pipelineParallelSize × dataParallelSize (each 1 where "
            "unset) must equal gpu.count: set gpu.count to that product, or "
            "engine.tensorParallelSize to gpu.count.",
        ),
        Rule(
            "!has(self.batching.maxBatchSize) || !has(self.engine.maxNumSeqs) || "
            f"self.batching.maxBatchSize <= self.engine.maxNumSeqs + {BATCH_HEADROOM}",
            f"batching.maxBatchSize may be at most engine.maxNumSeqs + {BATCH_HEADROOM}, the "
            "engine would only queue the rest: lower it, or raise engine.maxNumSeqs.",
        ),
        Rule(
            "self.batching.maxWaitMilliseconds < self.requests.timeoutSeconds * 1000",
            "batching.maxWaitMilliseconds must be below requests.timeoutSeconds, or requests time "
            "out while they are held: lower it.",
        ),
        Rule(
            "!has(self.drain) || !has(self.drain.timeoutSeconds) || "
            "self.drain.timeoutSeconds >= self.requests.timeoutSeconds",
            "drain.timeoutSeconds must be at least requests.timeoutSeconds, or leaving pods cut "
            "requests off: raise it, or leave it unset.",
        ),
    )

    engine: Engine = Field(description="What serves the model.")
    gpu: GPU | None = Field(default=None, description="GPUs of each pod; unset: none.")
    worker: Worker | None = Field(default=None, description="The sidecar in front of the engine.")
    replicas: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = Field(
        default=1, description="How many pods serve; what kubectl scale and an HPA change."
    )
    pod_template: PodTemplate | None = Field(
        default=None,
        description="Merged over the rendered pod as kubectl patch does (strategic merge); the "
        "containers are named engine and sidecar.",
    )
    batching: Batching = Field(default=Batching(), description="Live settings of the batch.")
    merging: Merging = Field(
        default=Merging(), description="Sharing one engine call between equals."
    )
    access: Access = Field(default=Access(), description="Who may send requests.")
    requests: Requests = Field(default=Requests(), description="Limits of single requests.")
    rollout: Rollout = Field(default=Rollout(), description="How new revisions replace old ones.")
    drain: Drain | None = Field(default=None, description="How a pod leaves.")
    monitoring: Monitoring | None = Field(
        default=None, description="How Prometheus finds the pods."
    )
    paused: bool = Field(
        default=False,
        description="While true the operator changes nothing but status: no rollout, no scaling, "
        "no live settings, no repair of children.",
    )

    @property
    def drain_seconds(self) -> int:
        """How long a leaving pod may take to finish its requests."""
        if self.drain is not None and self.drain.timeout_seconds is not None:
            return self.drain.timeout_seconds
        return self.requests.timeout_seconds


class BatchInferenceService(Model):
    """A fleet of inference workers behind one address."""

    model_config = rules(
        Rule(
            f"self.metadata.name.size() <= {names.MAX_NAME_LENGTH} && "
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            f"metadata.name must have at most {names.MAX_NAME_LENGTH} characters, start with a "
            "letter and hold only a-z, 0-9 and '-': it becomes a DNS name and part of pod names.",
        )
    )

    name: str
    namespace: str
    uid: str
    generation: int
    spec: Spec

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """From the API server's JSON. Raises pydantic's ``ValidationError``."""
        metadata = raw["metadata"]
        return cls.parse(
            {
                "name": metadata["name"],
                "namespace": metadata.get("namespace", "default"),
                "uid": metadata.get("uid", ""),
                "generation": metadata.get("generation", 1),
                "spec": raw.get("spec", {}),
            }
        )
