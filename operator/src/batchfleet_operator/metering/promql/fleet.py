"""What :class:`Signals` are made of: one definition for each number of a service.

Metric names are the sidecar's (docs/metrics.md) and vLLM's, the newer name before the older.  Where
an engine has no metrics the sidecar's alone are enough to size a fleet.
"""

from __future__ import annotations

from typing import Final

from batchfleet_operator.metering.promql.expression import (
    EVERY,
    SERVICE,
    Definition,
    seconds,
    together,
)

RATE_SECONDS: Final = 60
"""Window of rates, unless the allowed age of a sample is longer: two scrapes of the usual 30 s."""

MEAN_WINDOW: Final = "5m"
"""Of what changes slowly: the mean request."""

KNOWN_WINDOW: Final = "15m"
"""For how long a pod that was scraped once is remembered, to tell stale from never scraped."""

_KV: Final = "(vllm:kv_cache_usage_perc{$pods} or vllm:gpu_cache_usage_perc{$pods})"


def _mean(total: str, number: str) -> str:
    """``total`` ÷ ``number`` where there was any; both are rates by group."""
    return f"({total} / ({number} > 0))"


def _rate(metric: str, matchers: str = "", window: str = MEAN_WINDOW) -> str:
    return f"sum by ($by) (rate({metric}{{$pods{matchers}}}[{window}]))"


def _tokens(vllm: str, kind: str) -> str:
    """Of a mean request.  The engine counts every prompt, the sidecar only those it is told of."""
    own = _mean(_rate(f"vllm:{vllm}_sum"), _rate(f"vllm:{vllm}_count"))
    computed = _rate("batchfleet_tokens_computed_total", f',kind="{kind}"')
    return f"{own} or {_mean(computed, _rate('batchfleet_subscribers_per_flight_count'))}"


OFFERED: Final = Definition(
    "offered_per_second",
    "Requests that clients sent per second, refused ones included.",
    _rate("batchfleet_requests_offered_total", window="$window"),
)
COMPLETED: Final = Definition(
    "completed_per_second",
    "Engine calls that ended per second.",
    _rate("batchfleet_subscribers_per_flight_count", window="$window"),
)
JOINED: Final = Definition(
    "joined_share",
    "Share of the requests that were answered without an engine call of their own.",
    "clamp_max("
    + _mean(
        f"({_rate('batchfleet_requests_merged_total')} + {_rate('batchfleet_cache_hits_total')})",
        _rate("batchfleet_requests_offered_total"),
    )
    + ", 1)",
)
IN_FLIGHT: Final = Definition(
    "in_flight",
    "Engine calls under way, those that wait in the engine included.",
    "sum by ($by) (batchfleet_in_flight{$pods})",
)
QUEUED: Final = Definition(
    "queued",
    "Engine calls that wait for a slot in the sidecars.",
    "sum by ($by) (batchfleet_queued{$pods})",
)
QUEUED_BATCH: Final = Definition(
    "queued_batch",
    "Of these, batch traffic.",
    "sum by ($by) (batchfleet_queued_batch{$pods})",
)
WAITING: Final = Definition(
    "waiting",
    "Engine calls that wait inside the engines.",
    "sum by ($by) (vllm:num_requests_waiting{$pods})",
)
KV_USAGE: Final = Definition(
    "kv_usage",
    "Used share of the KV cache, summed over pods.",
    f"sum by ($by) (avg by (namespace, service, pod) {_KV})",
)
PROMPT_TOKENS: Final = Definition(
    "prompt_tokens",
    "Prompt tokens of a mean request.",
    _tokens("request_prompt_tokens", "prompt"),
)
OUTPUT_TOKENS: Final = Definition(
    "output_tokens",
    "Completion tokens of a mean request.",
    _tokens("request_generation_tokens", "completion"),
)
UTILISATION: Final = Definition(
    "utilisation",
    "Engine calls under way as a share of the limit, mean over pods.",
    "avg by ($by) (batchfleet_in_flight{$pods} / (batchfleet_in_flight_limit{$pods} < Inf))",
)

SIGNALS: Final = (
    OFFERED,
    COMPLETED,
    JOINED,
    IN_FLIGHT,
    QUEUED,
    QUEUED_BATCH,
    WAITING,
    KV_USAGE,
    PROMPT_TOKENS,
    OUTPUT_TOKENS,
    UTILISATION,
)
"""Numbers of a service, each by (namespace, service)."""

KV_PODS: Final = Definition(
    "kv_pods",
    "Pods whose engine tells of its KV cache.",
    f"count by ($by) (avg by (namespace, service, pod) {_KV})",
)
MUTE_PODS: Final = Definition(
    "mute_pods",
    "Pods that take requests and whose engine tells nothing.",
    f"count by ($by) ((batchfleet_ready{{$pods}} == 1) unless on (namespace, pod) {_KV})",
)
TARGETS: Final = Definition(
    "targets", "Pods that Prometheus scrapes or tries to.", "count by ($by) (up{$pods})"
)
TARGETS_UP: Final = Definition(
    "targets_up", "Of these, those that answer.", "sum by ($by) (up{$pods})"
)
KNOWN_PODS: Final = Definition(
    "known_pods",
    "Pods of the last quarter of an hour.",
    f"count by ($by) (last_over_time(batchfleet_ready{{$pods}}[{KNOWN_WINDOW}]))",
)

PRESENCE: Final = (KV_PODS, MUTE_PODS, TARGETS, TARGETS_UP, KNOWN_PODS)
"""What tells how much the signals are worth."""

FRESH_PODS: Final = "fresh_pods"
KV_BLOCKS: Final = "kv_blocks"

ASKED_TOGETHER: Final = (
    (FRESH_PODS, TARGETS.name, TARGETS_UP.name, KNOWN_PODS.name),
    (IN_FLIGHT.name, WAITING.name, QUEUED.name, QUEUED_BATCH.name, UTILISATION.name),
    (OFFERED.name, COMPLETED.name, JOINED.name),
    (PROMPT_TOKENS.name, OUTPUT_TOKENS.name),
    (KV_USAGE.name, KV_PODS.name, MUTE_PODS.name, KV_BLOCKS),
)
"""Numbers of one query, each."""


def snapshot(
    pods: str = EVERY, window_seconds: float = RATE_SECONDS, max_age_seconds: float = 60
) -> list[str]:
    """Everything of every service in a few queries; a sample's label ``signal`` names its
    definition.

    Few, and not one: Prometheus works on each with one core, and what it joins by ``or`` it
    compares with all that it has already.  The first is a cheap one: whether a server answers.

    ``fresh_pods`` looks at the samples' own times, so that it holds with any server.
    ``kv_blocks`` has the size of the KV cache in labels: block_size and num_gpu_blocks.
    """
    texts = {
        each.name: each.query(pods=pods, window=seconds(window_seconds))
        for each in (*SIGNALS, *PRESENCE)
    }
    texts[FRESH_PODS] = (
        f"count by ({SERVICE}) "
        f"(timestamp(batchfleet_ready{{{pods}}}) > time() - {max_age_seconds:g})"
    )
    texts[KV_BLOCKS] = (
        f"count by ({SERVICE}, block_size, num_gpu_blocks) (vllm:cache_config_info{{{pods}}})"
    )
    return [together({name: texts[name] for name in group}) for group in ASKED_TOGETHER]
