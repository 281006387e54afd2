"""``status``: what the operator tells. Written whole, in one write, only when it changed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from batchfleet_operator.api.schema import CountOrZero, Image, Model, Word

Time = Annotated[str, Field(max_length=32, pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
"""RFC 3339 in UTC, to the second."""


class Condition(Model):
    """One thing that is or is not as it should be."""

    type: Annotated[str, Field(max_length=64)] = Field(description="What this is about.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it is so.")
    reason: Annotated[str, Field(max_length=64)] = Field(description="Why, in one word.")
    message: Annotated[str, Field(max_length=4096)] = Field(description="Why, for people.")
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] = Field(
        description="Generation of the spec that this was said about."
    )
    last_transition_time: Time = Field(description="When status last changed.")


class ImagesInUse(Model):
    """Images of the current revision."""

    engine: Image | None = Field(default=None, description="Image of the engine.")
    worker: Image | None = Field(default=None, description="Image of the sidecar.")


class Effective(Model):
    """The batch limits that pods of the current revision are given."""

    max_batch_size: CountOrZero | None = Field(
        default=None, description="Most requests in flight per pod; absent: no limit."
    )
    max_num_seqs: CountOrZero | None = Field(
        default=None,
        description="Most sequences that the engine runs at once; absent: its own default.",
    )
    source: Literal["MaxBatchSize", "MaxNumSeqs", "Clamped", "EngineDefault"] = Field(
        description="Where maxBatchSize comes from; Clamped: what the spec asks for is above what "
        "this revision's engine runs."
    )
    since: Time = Field(description="Since when these limits hold.")


class Status(Model):
    """What is there."""

    observed_generation: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        default=None, description="Generation of the spec that this status is about."
    )
    replicas: CountOrZero | None = Field(
        default=None, description="Pods that exist and are not leaving."
    )
    ready_replicas: CountOrZero | None = Field(default=None, description="Pods that take requests.")
    selector: Word | None = Field(
        default=None, description="Label selector of the pods, for autoscalers."
    )
    revision: Word | None = Field(default=None, description="Revision that is wanted.")
    stable_revision: Word | None = Field(
        default=None, description="Last revision that all replicas ran and were ready with."
    )
    images: ImagesInUse | None = Field(default=None, description="Images of the wanted revision.")
    effective: Effective | None = Field(default=None, description="Limits in force.")
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16)] | None = Field(
        default=None,
        description="Ready, Available, Progressing, ModelReady, SettingsApplied; Bypassed while "
        "the annotation asks for it.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )
