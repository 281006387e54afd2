"""``BatchInferenceService``: the object that people write.

Fields are only ever added.  Rules over several fields are CEL, so that ``kubectl apply`` refuses
with a sentence that says what to write instead.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from batchfleet_operator import names
from batchfleet_operator.api.access import Access
from batchfleet_operator.api.alerts import AlertAction, Remediation
from batchfleet_operator.api.autoscaling import Autoscaling
from batchfleet_operator.api.batching import Batching
from batchfleet_operator.api.engine import GPU, Engine
from batchfleet_operator.api.requests import Requests
from batchfleet_operator.api.rollout import Restart, Rollout
from batchfleet_operator.api.schema import (
    MAX_REPLICAS,
    LabelValue,
    Model,
    Name,
    Opaque,
    Rule,
    Seconds,
    Word,
    rules,
)
from batchfleet_operator.api.worker import Worker

BATCH_HEADROOM = 4
"""How far a live limit may exceed the engine's batch: keeps it full while answers leave."""


class PodTemplate(Model):
    """What is laid over the rendered pod."""

    metadata: Opaque | None = Field(default=None, description="Labels and annotations of the pods.")
    spec: Opaque | None = Field(
        default=None, description="Fields of the pod; its containers by name."
    )


class Merging(Model):
    """Requests that are equal in all that can change the answer share one engine call."""

    mode: Literal["Disabled", "Observe", "Enforce"] = Field(
        default="Enforce",
        description="Enforce merges deterministic requests that are exactly equal; Observe only "
        "counts what would be merged.",
    )
    cache_ttl_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = Field(
        default=None,
        alias="cacheTTLSeconds",
        description="How long a finished answer is given to equal requests, with mode Enforce; "
        "unset or 0: not at all.",
    )
    cache_mebibytes: Annotated[int, Field(ge=1, le=16_384)] | None = Field(
        default=None,
        description="Most that finished answers may take of each sidecar's memory: at most half "
        "of worker.resources.limits.memory. Unset: 64.",
    )


class Drain(Model):
    """How a pod leaves."""

    timeout_seconds: Seconds | None = Field(
        default=None,
        description="How long a leaving pod finishes what it has begun; unset: "
        "requests.timeoutSeconds, and raising that restarts pods too, one by one.",
    )


class PrometheusSource(Model):
    """Another Prometheus than the operator's, for this service alone."""

    url: Annotated[str, Field(max_length=512, pattern=r"^https?://[^\s]+$")] = Field(
        description="Its address, such as http://prometheus.team.svc:9090. It never gets the "
        "operator's own credentials."
    )
    credentials_secret_name: Name | None = Field(
        default=None,
        description="Secret of this namespace with token, or username and password, and with "
        "ca.crt, tls.crt and tls.key where they are needed. The operator's configuration must "
        "allow it to read Secrets.",
    )


class Monitoring(Model):
    """How Prometheus finds the pods, and which one the operator asks."""

    labels: Annotated[dict[Word, LabelValue], Field(max_length=16)] | None = Field(
        default=None, description="Labels of the PodMonitor, where that kind is installed."
    )
    prometheus: PrometheusSource | None = Field(
        default=None, description="Unset: the operator's own."
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
            "!has(self.batching.maxWaitMilliseconds) || "
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
        Rule(
            "!has(self.merging.cacheMebibytes) || (has(self.worker) && "
            "has(self.worker.resources) && has(self.worker.resources.limits) && "
            "has(self.worker.resources.limits.memory) ? "
            "quantity(self.worker.resources.limits.memory).asApproximateFloat() : "
            f"{512 * 2**20}.0) >= double(self.merging.cacheMebibytes) * {2 * 2**20}.0",
            "merging.cacheMebibytes may be at most half of the sidecar's memory "
            "(worker.resources.limits.memory, 512Mi where unset), or it would run out of memory: "
            "lower it, or raise that limit.",
        ),
        Rule(
            "self.access.type != 'Open' || !has(self.requests.rateLimits) || "
            "!self.requests.rateLimits.exists(r, has(r.tenant))",
            "requests.rateLimits names a tenant, but with access.type Open tenants have no names: "
            "use APIKeys or TrustedHeader, or leave tenant out.",
        ),
        Rule(
            "self.access.type != 'APIKeys' || !has(self.worker) || !has(self.worker.bypass) || "
            "self.worker.bypass != 'Allowed'",
            "worker.bypass Allowed would let clients reach the engine without an API key: leave "
            "it out, or use another access.type.",
        ),
        Rule(
            "has(self.autoscaling) || !has(self.alertActions) || !self.alertActions.exists(a, "
            "has(a.action) && a.action.type == 'ScaleOut')",
            "an action ScaleOut needs autoscaling, which says how far: the operator never writes "
            "spec.replicas itself.",
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
    restart: Restart | None = Field(
        default=None, description="Replaces all pods once, as a rollout; images are chosen anew."
    )
    drain: Drain | None = Field(default=None, description="How a pod leaves.")
    monitoring: Monitoring | None = Field(
        default=None, description="How Prometheus finds the pods."
    )
    autoscaling: Autoscaling | None = Field(
        default=None,
        description="The operator chooses the number of pods; replicas is then where it starts.",
    )
    alert_actions: Annotated[tuple[AlertAction, ...], Field(max_length=16)] | None = Field(
        default=None,
        description="Rules: what to do when a number is not as it should be.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    remediation: Remediation = Field(
        default=Remediation(), description="What holds for all rules of alertActions."
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

    @property
    def has_own_prometheus(self) -> bool:
        """Whether it names another Prometheus than the operator's."""
        return self.monitoring is not None and self.monitoring.prometheus is not None

    @property
    def allows_bypass(self) -> bool:
        """Whether clients may reach the engine itself."""
        return self.worker is not None and self.worker.bypass == "Allowed"


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
    bypass: str | None = None  # what the annotation for it says; None: there is none
    automation: str | None = None  # the annotation that pauses it; "paused", or None
    rollout: str | None = None  # the annotation for rollouts: "paused", "promote", or None
    spec: Spec

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """From the API server's JSON. Raises pydantic's ``ValidationError``."""
        metadata = raw["metadata"]
        annotations = metadata.get("annotations") or {}
        return cls.parse(
            {
                "name": metadata["name"],
                "namespace": metadata.get("namespace", "default"),
                "uid": metadata.get("uid", ""),
                "generation": metadata.get("generation", 1),
                "bypass": annotations.get(names.ANNOTATION_BYPASS),
                "automation": annotations.get(names.ANNOTATION_AUTOMATION),
                "rollout": annotations.get(names.ANNOTATION_ROLLOUT),
                "spec": raw.get("spec", {}),
            }
        )
