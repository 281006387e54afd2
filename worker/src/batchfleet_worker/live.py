"""Live settings: what may change under running requests, and when a text of them is good.

The operator writes them to a ConfigMap (names as in the CRD), the kubelet to a file, ``watch``
reads the bytes, this module judges them, ``Pipeline.apply`` takes them.  Pure.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel


class Merging(StrEnum):
    """What is done with a request that equals one under way."""

    DISABLED = "Disabled"  # no key is computed
    OBSERVE = "Observe"  # counted, never joined
    ENFORCE = "Enforce"  # one engine call for all of them


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        strict=True,
    )


class BatchingSettings(_Model):
    max_batch_size: int | None = Field(default=None, ge=1)
    """Engine calls under way at once; None: no limit of ours, the engine queues on its own."""
    max_wait_milliseconds: int = Field(default=0, ge=0)
    """How long a request may be held to fill a batch.  0 for engines that batch continuously:
    waiting in front of those adds the wait to the first token and no throughput."""
    max_queue_length: int = Field(default=1000, ge=0)
    """Engine calls waiting for a slot; further requests are refused with 429."""


class MergingSettings(_Model):
    mode: Merging = Merging.ENFORCE


class RequestsSettings(_Model):
    timeout_seconds: int = Field(default=300, ge=1)
    """From a request's arrival to the end of its answer, queue included."""


class LiveSettings(_Model):
    """The whole file; every field optional, unknown fields refused."""

    batching: BatchingSettings = BatchingSettings()
    merging: MergingSettings = MergingSettings()
    requests: RequestsSettings = RequestsSettings()

    @model_validator(mode="after")
    def _no_contradiction(self) -> LiveSettings:
        wait = self.batching.max_wait_milliseconds
        if wait and not self.batching.max_queue_length:
            raise ValueError(
                "batching.maxWaitMilliseconds holds requests in the queue, which "
                "batching.maxQueueLength 0 forbids; set the wait to 0 or allow a queue"
            )
        if wait >= self.requests.timeout_seconds * 1000:
            raise ValueError(
                f"batching.maxWaitMilliseconds {wait} is not below requests.timeoutSeconds "
                f"{self.requests.timeout_seconds}: requests would time out while they are held"
            )
        return self


def parse(data: bytes) -> LiveSettings | str:
    """The settings, or what is wrong with them in one line; then the last good ones stay."""
    try:
        return LiveSettings.model_validate_json(data)
    except ValidationError as invalid:
        return "; ".join(
            ".".join(map(str, error["loc"])) + (": " if error["loc"] else "") + error["msg"]
            for error in invalid.errors(include_url=False, include_input=False)
        )


def hash_of(data: bytes) -> str:
    """16 hex digits of the file's bytes, by which the operator knows which settings run."""
    return hashlib.sha256(data).hexdigest()[:16]
