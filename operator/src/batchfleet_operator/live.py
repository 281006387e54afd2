"""Live settings: what the sidecars of one revision read from their mounted file.

The bytes are made here, hashed here, and written exactly so: the hash that a sidecar reports in
``/state`` is the hash of the file it read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from batchfleet_operator import engine, profiles
from batchfleet_operator.api import Engine, Spec
from batchfleet_operator.api.requests import RateLimit
from batchfleet_operator.api.service import BATCH_HEADROOM
from batchfleet_operator.api.status import Automatic
from batchfleet_operator.decision import Object

Source = Literal["MaxBatchSize", "MaxNumSeqs", "Clamped", "EngineDefault", "AlertAction"]

SHARE_DIGITS = 6
"""Of a rate: the shares of all pods add up to the limit within a millionth."""


@dataclass(frozen=True)
class Limits:
    """How many requests one pod of a revision may have in flight, and why so many."""

    max_batch_size: int | None  # None: no limit
    max_num_seqs: int | None  # of this revision's engine; None: the engine's own default
    source: Source


@dataclass(frozen=True)
class LiveSettings:
    """One revision's file, and where its batch limit comes from."""

    text: str
    max_batch_size: int | None  # requests in flight per pod; None: no limit
    max_num_seqs: int | None  # of this revision's engine; None: the engine's own default
    source: Source

    @cached_property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the file's bytes."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def limits(spec: Spec, running: Engine | None, automatic: Automatic | None = None) -> Limits:
    """The limits that ``settings`` writes, without writing them."""
    batch = None if running is None else engine.batch_size(running)
    size, source = _limit(spec.batching.max_batch_size, batch)
    if automatic is not None and automatic.max_batch_size is not None:
        size, source = _limit(automatic.max_batch_size, batch)[0], "AlertAction"
    return Limits(size, batch, source)


def settings(
    spec: Spec,
    running: Engine | None,
    ready_pods: int,
    automatic: Automatic | None = None,
    connection_age_seconds: int | None = None,
) -> LiveSettings:
    """What ``spec`` asks for, within what the ``running`` engine can do (``None``: not known).

    During a rollout that raises ``maxNumSeqs``, pods of the old revision keep their own ceiling.
    Rate limits are of the service: each of ``ready_pods`` enforces its share.  What alert actions
    have set (``automatic``) holds in place of the spec's own.  ``connection_age_seconds``, which a
    rollout may ask for, holds only where the spec leaves it open.
    """
    limit = limits(spec, running, automatic)
    age = spec.requests.max_connection_age_seconds
    content = {
        "batching": _batching(spec, limit.max_batch_size, automatic),
        "merging": _said(
            mode=spec.merging.mode,
            cacheTTLSeconds=spec.merging.cache_ttl_seconds,
            cacheMebibytes=spec.merging.cache_mebibytes,
        ),
        "requests": _said(
            timeoutSeconds=spec.requests.timeout_seconds,
            queueTimeoutSeconds=profiles.of(spec).queue_timeout_seconds,
            reservedSlotsPercent=spec.requests.reserved_slots_percent,
            maxConnectionAgeSeconds=connection_age_seconds if age is None else age,
            rateLimits=[_share(each, ready_pods) for each in spec.requests.rate_limits or ()],
        ),
    }
    return LiveSettings(
        text=json.dumps(content, indent=2) + "\n",
        max_batch_size=limit.max_batch_size,
        max_num_seqs=limit.max_num_seqs,
        source=limit.source,
    )


def _batching(spec: Spec, size: int | None, automatic: Automatic | None) -> Object:
    profile = profiles.of(spec)
    queue = None if automatic is None else automatic.max_queue_length
    adaptive = profile.mode == "Adaptive"
    return _said(
        mode=profile.mode if adaptive else None,
        maxBatchSize=size,
        maxWaitMilliseconds=profile.max_wait_milliseconds,
        maxQueueLength=profile.max_queue_length if queue is None else queue,
        targetInterTokenMilliseconds=profile.target_inter_token_milliseconds if adaptive else None,
        modelLimits=[each.as_json() for each in spec.batching.model_limits or ()],
    )


def _share(limit: RateLimit, pods: int) -> Object:
    """One pod's part of a limit."""
    return _said(
        scope=limit.scope,
        tenant=limit.tenant,
        requestsPerMinute=_part(limit.requests_per_minute, pods),
        tokensPerMinute=_part(limit.tokens_per_minute, pods),
    )


def _part(of_all: int | None, pods: int) -> float | None:
    return None if of_all is None else float(f"{of_all / max(pods, 1):.{SHARE_DIGITS}g}")


def _said(**fields: Any) -> Object:
    """Without what is not said: a sidecar refuses fields that are newer than itself."""
    return {name: value for name, value in fields.items() if value not in (None, [])}


def _limit(asked: int | None, batch: int | None) -> tuple[int | None, Source]:
    if asked is None:
        return batch, "EngineDefault" if batch is None else "MaxNumSeqs"
    if batch is not None and asked > batch + BATCH_HEADROOM:
        return batch + BATCH_HEADROOM, "Clamped"
    return asked, "MaxBatchSize"
