"""What the engine's metrics page tells: is it alive, and how full is it?  Pure.

``prober`` fetches the page, ``engine`` judges life by it, ``adaptive`` the limit.  Both the current
names of vLLM's metrics and the ones before are read; an engine with neither gives None.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchfleet_worker.adaptive import NOTHING, Signals
from batchfleet_worker.histogram import Histogram

ITERATIONS = "vllm:iteration_tokens_total_count"
_STARTED = "process_start_time_seconds"
_RUNNING, _WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
_PREEMPTED = "vllm:num_preemptions_total"
_KV_USAGE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
_GAP_SUM = ("vllm:inter_token_latency_seconds_sum", "vllm:time_per_output_token_seconds_sum")
_GAP_COUNT = ("vllm:inter_token_latency_seconds_count", "vllm:time_per_output_token_seconds_count")
_MOST = 'max_num_seqs="'  # a label of one of the _info metrics, where the version has it


@dataclass(frozen=True, slots=True)
class Vitals:
    """None: not published.  Sums over the engines of a data-parallel pod, but ``kv_usage``, which
    is the fullest one's."""

    iterations: float | None = None
    started: float | None = None  # Unix seconds
    running: float | None = None
    waiting: float | None = None
    kv_usage: float | None = None  # 0 to 1
    preempted: float = 0
    gap_sum: float = 0  # seconds between tokens, since the start
    gap_count: float = 0
    most_running: int | None = None

    @property
    def busy(self) -> float:
        """Requests that it has."""
        return (self.running or 0) + (self.waiting or 0)


def read_vitals(text: str) -> Vitals:
    """From Prometheus text."""
    sums: dict[str, float] = {}
    kv_usage: float | None = None
    most: int | None = None
    for line in text.splitlines():
        if not line.startswith(("vllm:", _STARTED)) or "_bucket{" in line:
            continue
        name, _, rest = line.partition("{") if "{" in line else line.partition(" ")
        if name in _KV_USAGE:
            kv_usage = max(kv_usage or 0.0, _value(rest))
        elif name in _WANTED:
            sums[name] = sums.get(name, 0.0) + _value(rest)
        elif name.endswith("_info") and _MOST in rest:
            most = (most or 0) + _number(rest.partition(_MOST)[2].partition('"')[0])
    return Vitals(
        sums.get(ITERATIONS),
        sums.get(_STARTED),
        sums.get(_RUNNING),
        sums.get(_WAITING),
        kv_usage,
        sums.get(_PREEMPTED, 0.0),
        _first(sums, _GAP_SUM),
        _first(sums, _GAP_COUNT),
        most or None,
    )


def between(before: Vitals | None, after: Vitals) -> Signals:
    """What one look shows beside the one before it, of the same process."""
    if before is None:
        return NOTHING
    tokens = after.gap_count - before.gap_count
    return Signals(
        (after.gap_sum - before.gap_sum) / tokens if tokens > 0 else None,
        after.running,
        after.waiting,
        after.kv_usage,
        max(0.0, after.preempted - before.preempted),
        after.most_running,
    )


class StreamGaps:
    """For an engine that tells no gaps: those between its streams' events, as they passed here.
    Several tokens may come in one event, so that these are the larger ones."""

    def __init__(self, seen: Histogram) -> None:
        self._seen = seen
        self._sum, self._count = 0.0, 0

    def fill(self, signals: Signals) -> Signals:
        sum_before, count_before = self._sum, self._count
        self._sum, self._count = self._seen.sum, sum(self._seen.counts)
        events = self._count - count_before
        if signals.gap_seconds is not None or not events:
            return signals
        return replace(signals, gap_seconds=(self._sum - sum_before) / events)


_WANTED = {ITERATIONS, _STARTED, _RUNNING, _WAITING, _PREEMPTED, *_GAP_SUM, *_GAP_COUNT}


def _first(sums: dict[str, float], names: tuple[str, ...]) -> float:
    return next((sums[name] for name in names if name in sums), 0.0)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def _value(rest: str) -> float:
    """The number of a sample line, after its name; a timestamp may follow."""
    _, _, after = rest.rpartition("}")
    try:
        return float(after.split()[0])
    except (ValueError, IndexError):
        return 0.0
