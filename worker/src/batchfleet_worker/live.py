"""Live settings: what may change under running requests, and when a text of them is good.

The operator writes them to a ConfigMap (names as in the CRD), the kubelet to a file, ``watch``
reads the bytes, this module judges them, ``Pipeline.apply`` takes them.  Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable
from enum import StrEnum
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

_T = TypeVar("_T", bound=Hashable)


class Merging(StrEnum):
    """What is done with a request that equals one under way."""

    DISABLED = "Disabled"  # no key is computed
    OBSERVE = "Observe"  # counted, never joined
    ENFORCE = "Enforce"  # one engine call for all of them


class Mode(StrEnum):
    """Who decides how many engine calls are under way."""

    FIXED = "Fixed"  # the ceiling is the limit
    ADAPTIVE = "Adaptive"  # found live, below the ceiling, by the gap between tokens


class Scope(StrEnum):
    """Whose requests one rate limit counts together."""

    TENANT = "Tenant"  # each tenant's own
    SERVICE = "Service"  # everybody's


def _twice(all_of: Iterable[_T]) -> _T | None:
    """The first that comes again."""
    seen = set()
    for each in all_of:
        if each in seen:
            return each
        seen.add(each)
    return None


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        frozen=True,
        strict=True,
    )


class ModelLimit(_Model):
    """A ceiling of its own for one of several models that the engine serves."""

    model: str = Field(min_length=1)
    max_batch_size: int = Field(ge=1)


class RateLimit(_Model):
    """This pod's share of a rate limit of the service."""

    scope: Scope = Scope.TENANT
    tenant: str | None = Field(default=None, min_length=1)
    """The one tenant whom this entry is for, instead of the entry for all."""
    requests_per_minute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tokens_per_minute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Prompt and completion tokens, as the engine counts them."""

    @model_validator(mode="after")
    def _no_contradiction(self) -> RateLimit:
        if self.requests_per_minute is None and self.tokens_per_minute is None:
            raise ValueError(
                "limits nothing; write requestsPerMinute, tokensPerMinute or both, or leave it out"
            )
        if self.tenant is not None and self.scope is Scope.SERVICE:
            raise ValueError(
                f"names the tenant {self.tenant!r}, but scope Service counts everybody together; "
                "write scope Tenant, or leave the tenant out"
            )
        return self


class BatchingSettings(_Model):
    mode: Mode = Mode.FIXED
    max_batch_size: int | None = Field(default=None, ge=1)
    """Engine calls under way at once; None: no limit of ours, the engine queues on its own."""
    max_wait_milliseconds: int = Field(default=0, ge=0)
    """How long a request may be held to fill a batch.  0 for engines that batch continuously:
    waiting in front of those adds the wait to the first token and no throughput."""
    max_queue_length: int = Field(default=1000, ge=0)
    """Engine calls waiting for a slot; further requests are refused with 429."""
    target_inter_token_milliseconds: int = Field(default=50, ge=1)
    """Mode Adaptive: the mean gap between a stream's tokens that the limit aims at."""
    model_limits: tuple[ModelLimit, ...] = ()

    @model_validator(mode="after")
    def _one_limit_each(self) -> BatchingSettings:
        model = _twice(limit.model for limit in self.model_limits)
        if model is not None:
            raise ValueError(f"modelLimits has more than one entry for the model {model!r}")
        return self


class MergingSettings(_Model):
    mode: Merging = Merging.ENFORCE
    cache_ttl_seconds: int = Field(default=0, ge=0, alias="cacheTTLSeconds")
    """How long a finished answer is given to equal requests; 0: not at all."""
    cache_mebibytes: int = Field(default=64, ge=1)
    """Most that the cache holds, within the sidecar's one budget."""


class RequestsSettings(_Model):
    timeout_seconds: int = Field(default=300, ge=1)
    """From a request's arrival to the end of its answer, queue included."""
    queue_timeout_seconds: int | None = Field(default=None, ge=1)
    """Longest wait for a slot; None: only the timeout above."""
    reserved_slots_percent: int = Field(default=0, ge=0, le=90)
    """Of the limit, kept for requests of a priority above 0."""
    max_connection_age_seconds: int = Field(default=300, ge=0)
    """After which an answer ends its connection, so that clients find new pods; 0: never."""
    rate_limits: tuple[RateLimit, ...] = ()

    @model_validator(mode="after")
    def _one_limit_each(self) -> RequestsSettings:
        again = _twice((limit.scope, limit.tenant) for limit in self.rate_limits)
        if again is not None:
            scope, tenant = again
            whose = "" if tenant is None else f" and tenant {tenant!r}"
            raise ValueError(f"rateLimits has more than one entry for scope {scope}{whose}")
        return self


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
            ".".join(map(str, error["loc"]))
            + (": " if error["loc"] else "")
            + error["msg"].removeprefix("Value error, ")
            for error in invalid.errors(include_url=False, include_input=False)
        )


def hash_of(data: bytes) -> str:
    """16 hex digits of the file's bytes, by which the operator knows which settings run."""
    return hashlib.sha256(data).hexdigest()[:16]
