"""The numbers of the rules' presets, and of a rollout's own analysis.

Latencies are 95th percentiles in seconds.  A quantile of a histogram is above a bucket's edge
exactly when more than 5 % of the requests are, so a bound that lies on an edge is compared exactly;
between edges the quantile is interpolated.  The presets' own bounds lie on edges, and a contract
test holds them there (docs/decisions/0014-signals.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from batchfleet_operator.api.alerts import PresetName
from batchfleet_operator.metering.promql import sums
from batchfleet_operator.metering.promql.expression import Definition

PERCENTILE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Number:
    """What one rule's number is read from; each by service, and where it makes sense by pod."""

    value: Definition
    samples: Definition | None = None  # requests behind it; None: it is not about requests
    queue_share: Definition | None = None  # of a latency: how much of it is waiting, 0 to 1
    baseline: Definition | None = None  # the same number when all was usual
    by_pod: bool = True
    summed: sums.Sums | None = None  # value and samples by pod; None: they do not add up

    @property
    def parts(self) -> dict[str, Definition]:
        """By the reading's field."""
        named = {
            "value": self.value,
            "samples": self.samples,
            "queue_share": self.queue_share,
            "baseline": self.baseline,
        }
        return {name: each for name, each in named.items() if each is not None}


def _increase(metric: str, matchers: str = "") -> str:
    return f"sum by ($by) (increase({metric}{{$pods{matchers}}}[$window]))"


def _mean(histogram: str) -> str:
    return f"({_increase(histogram + '_sum')} / ({_increase(histogram + '_count')} > 0))"


def _percentile(histogram: str) -> str:
    rates = f"sum by ($by, le) (rate({histogram}_bucket{{$pods}}[$window]))"
    return f"histogram_quantile({PERCENTILE:g}, {rates})"


def _samples(metric: str) -> Definition:
    return Definition("samples", "Requests in the window.", _increase(metric))


_TTFT: Final = "batchfleet_time_to_first_token_seconds"
_ENDED: Final = "batchfleet_subscribers_per_flight_count"
_REQUEST: Final = "batchfleet_request_seconds"
_E2E: Final = "vllm:e2e_request_latency_seconds"
"""Read only where no pod has ours: their sidecars are older.  It leaves out the sidecar's queue."""
_WAIT: Final = _mean("batchfleet_queue_wait_seconds")
_ENGINE_WAIT: Final = f"({_mean('vllm:request_queue_time_seconds')} or 0 * {_WAIT})"


def _queue_share(latency: str) -> Definition:
    return Definition(
        "queue_share",
        "Share of the latency that is waiting, in the sidecars' queues and the engines'.",
        f"clamp_max(({_WAIT} + {_ENGINE_WAIT}) / ({latency} > 0), 1)",
    )


def _answers(codes: str) -> str:
    """Answers of these classes, less those that say "busy".

    One sum over series of different labels, so that an engine without the last one is no exception.
    """
    busy = "|".join(sums.BUSY_CODES)
    series = (
        f'increase(batchfleet_responses_total{{$pods,code=~"{codes}"}}[$window])',
        f'-increase(batchfleet_requests_refused_total{{$pods,code=~"{busy}"}}[$window])',
        "-increase(vllm:admission_rejections_total{$pods}[$window])",
    )
    return f"clamp_min(sum by ($by) ({' or '.join(series)}), 0)"


# Answers that say something about the engine: not the client's own errors, not 429 and 503.
_ANSWERED: Final = _answers("2xx|5xx")
# A stream that broke began with 200; a whole answer that did is among the 5xx as well.
_BROKEN: Final = _increase("batchfleet_requests_refused_total", ',code=~"engine_broken|timeout"')
_FAILED: Final = (
    f'max by ($by) (label_replace({_answers("5xx")}, "kind", "whole", "", "") or {_BROKEN})'
)

ERRORS: Final = Number(
    value=Definition(
        "errors",
        "Share of the answers that failed; 429, 503 and the clients' own errors do not count.",
        f"clamp_max({_FAILED} / ({_ANSWERED} > 0), 1)",
    ),
    samples=Definition("samples", "Answers in the window.", _ANSWERED),
    summed=sums.errors(),
)

MEAN_TTFT: Final = Number(
    value=Definition("mean_ttft", "Mean time to first token, seconds.", _mean(_TTFT)),
    samples=_samples(f"{_TTFT}_count"),
    summed=sums.mean(_TTFT),
)
"""A mean, since a rollout adds up few requests of several pods."""


def _ended(window: str) -> str:
    return f"sum by ($by) (rate({_ENDED}{{$pods}}[{window}))"


_STALLED: Final = Definition(
    "stalled",
    "Pods that had work for the whole window, and did no iteration of it.",
    "sum by ($by) (max by (namespace, service, pod) ("
    "((min_over_time(vllm:num_requests_running{$pods}[$window]) + "
    "min_over_time(vllm:num_requests_waiting{$pods}[$window])) > bool 0) * "
    "(increase(vllm:iteration_tokens_total_count{$pods}[$window]) == bool 0) "
    "and vllm:num_requests_running{$pods} offset $window))",
)

NUMBERS: Final[Mapping[PresetName, Number]] = {
    "RequestLatency": Number(
        value=Definition(
            "latency",
            "95th percentile of the time from a request's arrival to its last byte, seconds.",
            f"({_percentile(_REQUEST)} or {_percentile(_E2E)})",
        ),
        samples=Definition(
            "samples",
            "Requests in the window.",
            f"({_increase(f'{_REQUEST}_count')} or {_increase(f'{_E2E}_count')})",
        ),
        queue_share=_queue_share(f"({_mean(_REQUEST)} or ({_WAIT} + {_mean(_E2E)}))"),
    ),
    "TimeToFirstToken": Number(
        value=Definition(
            "ttft",
            "95th percentile of the time from a request's arrival to its first token, seconds.",
            _percentile(_TTFT),
        ),
        samples=_samples(f"{_TTFT}_count"),
        queue_share=_queue_share(_mean(_TTFT)),
    ),
    "InterTokenLatency": Number(
        value=Definition(
            "inter_token",
            "95th percentile of the time between two tokens, seconds.",
            _percentile("batchfleet_inter_token_seconds"),
        ),
        samples=_samples(_ENDED),
        queue_share=Definition("queue_share", "None of it is waiting.", f"0 * {_increase(_ENDED)}"),
    ),
    "ErrorRate": ERRORS,
    "Throughput": Number(
        value=Definition("throughput", "Engine calls that ended per second.", _ended("$window]")),
        samples=_samples(_ENDED),
        baseline=Definition(
            "baseline",
            "The same a day ago, over an hour; without one, its median over the last hour.",
            f"({_ended('1h] offset 23h30m')} > 0) or "
            f"quantile_over_time(0.5, {_ended('5m]')}[1h:1m] offset $window)",
        ),
        by_pod=False,
    ),
    "Load": Number(
        value=Definition(
            "load",
            "Engine calls under way or waiting in the sidecars, as a share of the limit.",
            "sum by ($by) ((avg_over_time(batchfleet_in_flight{$pods}[$window]) + "
            "avg_over_time(batchfleet_queued{$pods}[$window])) "
            "and (batchfleet_in_flight_limit{$pods} < Inf)) / "
            "sum by ($by) (batchfleet_in_flight_limit{$pods} < Inf)",
        ),
    ),
    "ServiceDown": Number(
        value=Definition(
            "up",
            "Share of the pods that take requests; one that cannot be scraped does not.",
            "avg by ($by) (batchfleet_ready{$pods} or 0 * up{$pods})",
        ),
    ),
    "EngineStalled": Number(
        value=_STALLED,
        summed=sums.plain(_STALLED),
    ),
}
"""By preset.  Bounds and actions are ``presets``' business."""

ROLLOUT: Final[Mapping[str, Number]] = {"rollout/errors": ERRORS, "rollout/ttft": MEAN_TTFT}
"""Readings of every service with a rollout under way, by pod: old and new ones at one moment."""
