"""Live settings: what the sidecars of one revision read from their mounted file.

The bytes are made here, hashed here, and written exactly so: the hash that a sidecar reports in
``/state`` is the hash of the file it read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from batchfleet_operator import engine
from batchfleet_operator.api import Engine, Spec
from batchfleet_operator.api.service import BATCH_HEADROOM

Source = Literal["MaxBatchSize", "MaxNumSeqs", "Clamped", "EngineDefault"]


@dataclass(frozen=True)
class LiveSettings:
    """One revision's file, and where its batch limit comes from."""

    text: str
    max_batch_size: int | None  # requests in flight per pod; None: no limit
    max_num_seqs: int | None  # of this revision's engine; None: the engine's own default
    source: Source

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the file's bytes."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def settings(spec: Spec, running: Engine | None) -> LiveSettings:
    """What ``spec`` asks for, within what the ``running`` engine can do (``None``: not known).

    During a rollout that raises ``maxNumSeqs``, pods of the old revision keep their own ceiling.
    """
    batch = None if running is None else engine.batch_size(running)
    size, source = _limit(spec.batching.max_batch_size, batch)
    content = {
        "batching": {
            **({} if size is None else {"maxBatchSize": size}),
            "maxWaitMilliseconds": spec.batching.max_wait_milliseconds,
            "maxQueueLength": spec.batching.max_queue_length,
        },
        "merging": {"mode": spec.merging.mode},
        "requests": {"timeoutSeconds": spec.requests.timeout_seconds},
    }
    return LiveSettings(
        text=json.dumps(content, indent=2) + "\n",
        max_batch_size=size,
        max_num_seqs=batch,
        source=source,
    )


def _limit(asked: int | None, batch: int | None) -> tuple[int | None, Source]:
    if asked is None:
        return batch, "EngineDefault" if batch is None else "MaxNumSeqs"
    if batch is not None and asked > batch + BATCH_HEADROOM:
        return batch + BATCH_HEADROOM, "Clamped"
    return asked, "MaxBatchSize"
