"""vLLM's metrics under vLLM's names, labels and bucket edges, as plain numbers.

Those that something reads: routers, autoscalers, alert rules, our own sidecar.  The contract test
(tests/contract/test_engine_contract.py) holds them against a recorded page of a real vLLM.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from .batch import Batch

SECONDS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
FIRST_TOKEN_SECONDS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0),
    *(7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
TOKEN_SECONDS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0),
)
ITERATION_TOKENS = tuple(float(2**i) for i in range(15) if i not in (1, 2))
PREEMPTIONS = (1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0)
CHOICES = (1.0, 2.0, 5.0, 10.0, 20.0)

FINISHED = ("stop", "length", "abort", "error", "repetition")


def _token_edges(max_model_len: int) -> tuple[float, ...]:
    """1, 2, 5, 10, … up to the longest sequence, as vLLM builds them."""
    edges = (mantissa * 10.0**power for power in range(9) for mantissa in (1, 2, 5))
    return tuple(edge for edge in edges if edge <= max_model_len)


class Histogram:
    """Counts per bucket; ``edges`` are the upper bounds, without +Inf."""

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.edges, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: str) -> Iterator[str]:
        total = 0
        for edge, count in zip((*self.edges, "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels},le="{edge}"}} {total}.0'
        yield f"{name}_count{{{labels}}} {total}.0"
        yield f"{name}_sum{{{labels}}} {self.sum}"


@dataclass(frozen=True, slots=True)
class Served:
    """One sequence that was served to its end."""

    prompt_tokens: int
    output_tokens: int
    max_tokens: int
    choices: int  # of the request that it belongs to
    preemptions: int
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float


class Metrics:
    """The numbers of one engine since its start."""

    def __init__(self, max_model_len: int) -> None:
        edges = _token_edges(max_model_len)
        self.preemptions = 0
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.finished = dict.fromkeys(FINISHED, 0)
        self.inter_token_latency = Histogram(TOKEN_SECONDS)
        self._first_token = Histogram(FIRST_TOKEN_SECONDS)
        self._iteration_tokens = Histogram(ITERATION_TOKENS)
        self._prompt_tokens = Histogram(edges)
        self._generation_tokens = Histogram(edges)
        self._max_tokens = Histogram(edges)
        self._choices = Histogram(CHOICES)
        self._preempted = Histogram(PREEMPTIONS)
        self._time_per_token = Histogram(TOKEN_SECONDS)
        self._latency = Histogram(SECONDS)
        self._queue = Histogram(SECONDS)
        self._inference = Histogram(SECONDS)
        self._prefill = Histogram(SECONDS)
        self._decode = Histogram(SECONDS)

    def iteration(self, computed_tokens: int, generated_tokens: int) -> None:
        """One more iteration of the engine: its heartbeat."""
        self._iteration_tokens.observe(computed_tokens)
        self.generation_tokens += generated_tokens

    def first_token(self, seconds: float, prompt_tokens: int) -> None:
        self._first_token.observe(seconds)
        self.prompt_tokens += prompt_tokens

    def finish(self, reason: str, served: Served) -> None:
        self.finished[reason] += 1
        inference = served.prefill_seconds + served.decode_seconds
        self._prompt_tokens.observe(served.prompt_tokens)
        self._generation_tokens.observe(served.output_tokens)
        self._max_tokens.observe(served.max_tokens)
        self._choices.observe(served.choices)
        self._preempted.observe(served.preemptions)
        self._time_per_token.observe(served.decode_seconds / max(1, served.output_tokens - 1))
        self._latency.observe(served.queue_seconds + inference)
        self._queue.observe(served.queue_seconds)
        self._inference.observe(inference)
        self._prefill.observe(served.prefill_seconds)
        self._decode.observe(served.decode_seconds)

    def page(self, model_name: str, batch: Batch, start_time_seconds: float) -> str:
        """The /metrics page in Prometheus' text format; the start time is seconds since 1970."""
        labels = f'engine="0",model_name="{_escape(model_name)}"'
        out: list[str] = []

        def metric(name: str, kind: str, text: str, lines: Iterator[str] | list[str]) -> None:
            out.extend((f"# HELP {name} {text}", f"# TYPE {name} {kind}", *lines))

        def gauge(name: str, text: str, value: float) -> None:
            metric(name, "gauge", text, [f"{name}{{{labels}}} {float(value)}"])

        def counter(name: str, text: str, value: int) -> None:
            metric(name, "counter", text, [f"{name}{{{labels}}} {value}.0"])

        def histogram(name: str, text: str, value: Histogram) -> None:
            metric(name, "histogram", text, value.lines(name, labels))

        name = "process_start_time_seconds"
        metric(name, "gauge", "When the process started.", [f"{name} {start_time_seconds}"])
        running, waiting = len(batch.running), len(batch.waiting)
        gauge("vllm:num_requests_running", "Requests in the batch.", running)
        gauge("vllm:num_requests_waiting", "Requests that wait for a place.", waiting)
        gauge("vllm:kv_cache_usage_perc", "KV cache in use, 0 to 1.", batch.kv_cache_usage)
        counter("vllm:num_preemptions_total", "Preemptions.", self.preemptions)
        counter("vllm:prompt_tokens_total", "Prompt tokens computed.", self.prompt_tokens)
        counter("vllm:generation_tokens_total", "Tokens generated.", self.generation_tokens)
        name = "vllm:request_success_total"
        metric(
            name,
            "counter",
            "Requests that ended, by reason.",
            [
                f'{name}{{engine="0",finished_reason="{reason}",model_name="'
                f'{_escape(model_name)}"}} {count}.0'
                for reason, count in self.finished.items()
            ],
        )
        histogram("vllm:time_to_first_token_seconds", "Arrival to first token.", self._first_token)
        histogram("vllm:inter_token_latency_seconds", "Between tokens.", self.inter_token_latency)
        histogram(
            "vllm:request_time_per_output_token_seconds",
            "Mean between the tokens of a request.",
            self._time_per_token,
        )
        histogram("vllm:e2e_request_latency_seconds", "Arrival to last token.", self._latency)
        histogram("vllm:request_queue_time_seconds", "Arrival to start.", self._queue)
        histogram("vllm:request_inference_time_seconds", "Start to last token.", self._inference)
        histogram("vllm:request_prefill_time_seconds", "Start to first token.", self._prefill)
        histogram("vllm:request_decode_time_seconds", "First to last token.", self._decode)
        histogram("vllm:iteration_tokens_total", "Tokens per iteration.", self._iteration_tokens)
        histogram("vllm:request_prompt_tokens", "Prompt tokens.", self._prompt_tokens)
        histogram("vllm:request_generation_tokens", "Tokens generated.", self._generation_tokens)
        histogram("vllm:request_params_max_tokens", "Tokens asked for.", self._max_tokens)
        histogram("vllm:request_params_n", "Choices asked for.", self._choices)
        histogram("vllm:request_num_preemptions", "Preemptions of a request.", self._preempted)
        name = "vllm:cache_config_info"
        capacity = batch.capacity
        metric(
            name,
            "gauge",
            "The KV cache.",
            [
                f'{name}{{block_size="{capacity.block_size}",enable_prefix_caching="False",'
                f'engine="0",num_gpu_blocks="{capacity.num_gpu_blocks}"}} 1.0'
            ],
        )
        return "\n".join(out) + "\n"


def _escape(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
