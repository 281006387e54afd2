"""What Prometheus said of one service: numbers, or that there are none.  ``None`` is *unknown*.

Made by ``answers`` from what Prometheus said, or by the simulator; read by ``autoscale`` and
``alerts``, which never see a query.  Missing is not zero: nothing here is ever filled in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

AlertState = Literal["inactive", "pending", "firing"]
MetricsState = Literal["Found", "Missing", "Stale", "NotScraped", "PrometheusError"]


@dataclass(frozen=True, slots=True)
class Signals:
    """One service at one moment.  Rates are over the last minute, unless said otherwise.

    Sums are over the pods whose samples are fresh; ``fresh_pods`` says how many these are.
    """

    at: datetime  # of the evaluation, by the operator's clock
    state: MetricsState = "Found"
    message: str = ""  # for the condition MetricsAvailable: what is wrong, and what to do
    fresh_pods: int | None = None  # pods whose sidecar was scraped within the allowed age
    offered_per_second: float | None = None  # requests that clients sent, refused ones included
    offered_slope: float | None = None  # of that rate over five minutes, requests per second²
    completed_per_second: float | None = None  # engine calls that ended
    joined_share: float | None = None  # of offered: answered without an engine call of their own
    in_flight: float | None = None  # engine calls under way; those that wait in engines not
    queued: float | None = None  # engine calls that wait, in sidecars and engines
    queued_batch: float | None = None  # of these, of a priority below 0
    kv_usage: float | None = None  # sum over pods of the used share of the KV cache, 0 to pods
    kv_tokens_per_pod: float | None = None  # what one pod's KV cache holds
    prompt_tokens: float | None = None  # of a mean request, five minutes
    output_tokens: float | None = None  # of a mean request, five minutes
    utilisation: float | None = None  # in flight ÷ limit, mean over pods


@dataclass(frozen=True, slots=True)
class Reading:
    """One rule's number at one moment."""

    at: datetime
    value: float | None = None  # None: unknown (no sample, NaN, too old)
    samples: float | None = None  # requests behind it; None: unknown
    by_pod: Mapping[str, float] = field(default_factory=dict)  # the same number of single pods
    samples_by_pod: Mapping[str, float] = field(default_factory=dict)
    queue_share: float | None = None  # latency presets: how much of the latency is waiting, 0 to 1
    baseline: float | None = None  # Throughput: the same number a day ago or its recent median
    alert: AlertState | None = None  # rules with alertName
    problem: str | None = None  # why it cannot be read at all, in Prometheus' words: Invalid
    note: str | None = None  # why there is no number just now, where that is known


@dataclass(frozen=True, slots=True)
class Watched:
    """What the operator has seen of one service since it started, oldest first."""

    since: datetime  # when it began to look
    signals: Sequence[Signals] = ()  # at most the longest window that anything asks for
    readings: Mapping[str, Sequence[Reading]] = field(default_factory=dict)  # by rule

    @property
    def latest(self) -> Signals | None:
        return self.signals[-1] if self.signals else None
