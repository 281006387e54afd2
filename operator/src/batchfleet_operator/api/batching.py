"""``spec.batching``: how many requests are in flight, and how many wait.  All of it is live."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from batchfleet_operator.api.schema import Model, Rule, Word, rules

ProfileName = Literal["LowLatency", "Balanced", "HighThroughput"]
Mode = Literal["Fixed", "Adaptive"]
BatchSize = Annotated[int, Field(ge=1, le=65_540)]


class ModelLimit(Model):
    """A limit of its own for one of several models that the engine serves."""

    model: Word = Field(description="Name of the model, as requests write it.")
    max_batch_size: BatchSize = Field(description="Most requests for this model in flight per pod.")


class Batching(Model):
    """Live settings of the batch: a change reaches running pods in seconds, without restarts."""

    model_config = rules(
        Rule(
            "!has(self.maxWaitMilliseconds) || self.maxWaitMilliseconds == 0 || "
            "!has(self.maxQueueLength) || self.maxQueueLength > 0",
            "batching.maxWaitMilliseconds holds requests in the queue, which maxQueueLength 0 "
            "forbids: set the wait to 0, or allow a queue.",
        ),
        Rule(
            "!has(self.targetInterTokenMilliseconds) || (has(self.mode) ? "
            "self.mode == 'Adaptive' : has(self.profile) && self.profile != 'HighThroughput')",
            "batching.targetInterTokenMilliseconds is what mode Adaptive aims at: set "
            "batching.mode to Adaptive, or leave the target out.",
        ),
        Rule(
            "!has(self.maxBatchSize) || !has(self.modelLimits) || "
            "self.modelLimits.all(m, m.maxBatchSize <= self.maxBatchSize)",
            "a batching.modelLimits entry is above batching.maxBatchSize, which holds for all "
            "models together: lower the entry, or raise maxBatchSize.",
        ),
    )

    profile: ProfileName | None = Field(
        default=None,
        description="Named settings that fill what is unset: docs/api.md has the table.",
    )
    mode: Mode | None = Field(
        default=None,
        description="Fixed: the limit is maxBatchSize, as written. Adaptive: it is found live, at "
        "most that, by the time between tokens. Unset: the profile's, or Fixed.",
    )
    max_batch_size: BatchSize | None = Field(
        default=None,
        description="Most requests in flight per pod; unset: engine.maxNumSeqs, or no limit where "
        "that is unset too.",
    )
    max_wait_milliseconds: Annotated[int, Field(ge=0, le=60_000)] | None = Field(
        default=None,
        description="How long to hold requests back to fill a batch. vLLM batches continuously: "
        "waiting in front of it only adds the wait. Unset: 0.",
    )
    max_queue_length: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        default=None,
        description="Most requests that wait per pod; more are refused with 429. Unset: the "
        "profile's, or 1000.",
    )
    target_inter_token_milliseconds: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None,
        description="Mode Adaptive: the mean time between a stream's tokens that the limit aims "
        "at. Unset: the profile's, or 50.",
    )
    model_limits: Annotated[tuple[ModelLimit, ...], Field(max_length=16)] | None = Field(
        default=None,
        description="Limits for single models of an engine that serves several, such as adapters.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["model"],
        },
    )
