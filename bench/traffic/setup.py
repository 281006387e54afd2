"""How the fleet is set up under mixed traffic: small bounds, so that each one is met."""

from __future__ import annotations

from typing import Any

from bench import cache
from bench.traffic.question import MAX_MODEL_LEN

ENGINE_FLAGS = (
    f"--max-model-len={MAX_MODEL_LEN}",
    "--num-gpu-blocks-override=200000",
    "--step-ms=3",
    "--step-ms-per-seq=0.02",
    "--prefill-ms=0.5",
    "--prefill-ms-per-token=0.0002",
)

_ENVIRONMENT = {
    "BATCHFLEET_LAG_BYTES": str(128 * 1024),
    "BATCHFLEET_REPLAY_BYTES": str(200 * 1024),
}


def environment(*, compiled: bool) -> dict[str, str]:
    """Of the sidecar.  ``compiled``: as it is in the image; may take a minute, may raise
    :class:`bench.cache.MissingError`."""
    return {**_ENVIRONMENT, **cache.worker(plain=not compiled)}


def live(*, merging: str = "Enforce", cache: bool = False, mode: str = "Fixed") -> dict[str, Any]:
    """Live settings with room for fewer requests than there are clients."""
    return {
        "batching": {"mode": mode, "maxBatchSize": 32, "maxQueueLength": 60},
        "merging": {"mode": merging, "cacheTTLSeconds": 3 if cache else 0, "cacheMebibytes": 1},
        "requests": {"timeoutSeconds": 10, "maxConnectionAgeSeconds": 15},
    }
