# ruff: noqa: RUF009 - the calls in the dataclass only wrap dataclasses.field
"""Every metric of the sidecar, each once: its name, its help text and its number.

The pipeline and the relay add to plain attributes, because an increment in a metrics library costs
more than the hop may; the admin port renders them, followed by the engine's own, so that a pod is
one scrape target.  A field's name is the metric's name without ``batchfleet_``.

``python -m batchfleet_worker.metrics --check|--write docs/metrics.md`` keeps the page current.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from batchfleet_worker.cache import Gone
from batchfleet_worker.exposition import PREFIX, passed_through, samples
from batchfleet_worker.histogram import (
    BUCKETS,
    CLIENT_BUCKETS,
    GAP_BUCKETS,
    REQUEST_BUCKETS,
    Histogram,
)
from batchfleet_worker.key import NotMerged


def _metric(text: str, default: Any = 0) -> Any:
    return field(default=default, metadata={"help": text})


def _by(label: str, text: str, values: Iterable[str] = ()) -> Any:
    """One number per label value; those known beforehand start at 0, so that rates see them."""
    known = tuple(values)
    return field(
        default_factory=lambda: dict.fromkeys(known, 0), metadata={"help": text, "label": label}
    )


def _histogram(text: str, edges: tuple[float, ...] = BUCKETS) -> Any:
    return field(default_factory=lambda: Histogram(edges), metadata={"help": text, "edges": edges})


@dataclass(slots=True, eq=False)
class Metrics:
    """``*_total`` are counters; what has edges is a histogram, all others are gauges."""

    requests_offered_total: int = _metric(
        "Requests on allowed paths that the pipeline was asked to answer."
    )
    requests_admitted_total: int = _metric(
        "Requests that were not refused on arrival: sent, queued or joined."
    )
    requests_merged_total: int = _metric(
        "Requests that shared an equal request's engine call instead of making their own."
    )
    requests_would_merge_total: int = _metric(
        "Requests that would have shared an engine call, had merging been Enforce (mode Observe)."
    )
    requests_not_merged_total: dict[str, int] = _by(
        "reason", "Requests that could not share an engine call, by the reason.", NotMerged
    )
    fallthrough_total: int = _metric(
        "Requests passed on alone because of a fault in the merging logic itself."
    )
    engine_calls_total: int = _metric("Calls sent to the engine, second attempts included.")
    engine_errors_total: dict[str, int] = _by(
        "cause",
        "Engine calls without a complete answer: no connection (refused), a kept-alive connection "
        "that closed unanswered (unanswered), one that broke (broken).",
        ("refused", "unanswered", "broken"),
    )
    requests_turned_away_total: dict[str, int] = _by(
        "code",
        "Requests refused on arrival, by the error's code. Offered is admitted plus these.",
        ("queue_full", "draining"),
    )
    requests_refused_total: dict[str, int] = _by(
        "code",
        "Requests answered with an error of the sidecar's own, by the error's code.",
        (
            "queue_full",
            "timeout",
            "draining",
            "no_engine",
            "engine_broken",
            "too_slow",
            "overloaded",
            "deadline_unreachable",
            "queue_timeout",
            "rate_limited",
            "circuit_open",
        ),
    )
    responses_total: dict[str, int] = _by(
        "code",
        "Responses begun, the engine's and the sidecar's own, by class of status.",
        ("1xx", "2xx", "3xx", "4xx", "5xx"),
    )
    in_flight: int = _metric("Engine calls under way that count against the limit.")
    queued: int = _metric("Engine calls waiting for a slot.")
    queued_batch: int = _metric("Of these, batch traffic: of a priority below 0.")
    in_flight_limit: float = _metric(
        "The live limit of engine calls under way; +Inf: none is set.", math.inf
    )
    reserved_slots: int = _metric("Of the limit, kept for requests of a priority above 0.")
    limit_cuts_total: dict[str, int] = _by(
        "cause",
        "Cuts of the adaptive limit: tokens came too slowly (gap), the engine turned calls away or "
        "let them time out (refused), threw out calls it had begun (preemption), had its KV cache "
        "full with calls waiting (cache), or calls waited behind its own limit (queue).",
        ("gap", "refused", "preemption", "cache", "queue"),
    )
    circuit_open: int = _metric("1 while the engine gets no calls because it failed all of them.")
    circuit_opened_total: int = _metric("Times that this began or went on.")
    queue_wait_seconds: Histogram = _histogram(
        "From a request's arrival until its engine call was sent; 0 for one that joined later."
    )
    time_to_first_token_seconds: Histogram = _histogram(
        "From a request's arrival until the first bytes of its answer's body."
    )
    request_seconds: Histogram = _histogram(
        "From the moment a request was read until the last byte of its answer was written; of one "
        "that its client, a timeout or the queue's ended before that: until then. Joined and "
        "cached answers count too; requests refused on arrival, tunnels, cheap reads and all other "
        "errors do not: an error that comes early is no fast answer.",
        REQUEST_BUCKETS,
    )
    inter_token_seconds: Histogram = _histogram(
        "Between two pieces of one stream, as the engine sent them; a piece is a token, nearly.",
        GAP_BUCKETS,
    )
    subscribers_per_flight: Histogram = _histogram(
        "Clients that shared one engine call, all together.", CLIENT_BUCKETS
    )
    tokens_computed_total: dict[str, int] = _by(
        "kind",
        "Tokens of finished engine calls, as the engine counted them; completions of streams "
        "without a count by their pieces.",
        ("prompt", "completion"),
    )
    tokens_served_total: dict[str, int] = _by(
        "kind",
        "The same for every client that got them: shared and cached answers count for each.",
        ("prompt", "completion"),
    )
    requests_by_model_total: dict[str, int] = _by(
        "model", "Requests by their model, as /v1/models lists it; all others: other.", ("other",)
    )
    requests_crossed_total: int = _metric(
        "Merged requests for a whole answer that took it from another client's stream."
    )
    replays_closed_total: dict[str, int] = _by(
        "cause",
        "Engine calls that could not be joined any more before their end: the answer outgrew its "
        "bound (answer_too_long), requests needed the memory (memory).",
        ("answer_too_long", "memory"),
    )
    cache_hits_total: int = _metric("Requests answered from the cache.")
    cache_misses_total: int = _metric("Looks into the cache that found nothing.")
    cache_stored_total: int = _metric("Answers put into the cache.")
    cache_declined_total: int = _metric("Answers too large for the cache, or for the memory left.")
    cache_evicted_total: dict[str, int] = _by("reason", "Answers that left the cache.", Gone)
    cache_bytes: int = _metric("What the cache holds.")
    clients_left_total: int = _metric("Clients that went away before their answer was complete.")
    drain_requests_total: dict[str, int] = _by(
        "outcome",
        "Requests met by a drain: answered to the end (drained), refused before any work was done, "
        "to be sent to another replica (handed_back), cut off at the drain's end (aborted).",
        ("drained", "handed_back", "aborted"),
    )
    ready: int = _metric("1 while the sidecar reports ready.")
    engine_restarts_total: int = _metric("Restarts of the engine that the sidecar has seen.")
    settings_info: dict[str, int] = _by("hash", "1 for the hash of the live settings that run.")
    settings_errors_total: int = _metric("Live settings that were refused; the last good ones ran.")
    access_errors_total: int = _metric(
        "API keys that could not be read, or were none; the last good ones stayed."
    )
    build_info: dict[str, int] = _by("version", "1 for the version of the sidecar.")

    @classmethod
    def of(cls, version: str) -> Metrics:
        """Those of a process that starts."""
        return cls(build_info={version: 1})

    def set_models(self, models: frozenset[str]) -> None:
        """Those that the engine lists: no other name becomes a label, whatever clients write."""
        counts = self.requests_by_model_total
        for gone in counts.keys() - models - {"other"}:
            del counts[gone]
        for name in models:
            counts.setdefault(name, 0)

    def set_settings_hash(self, settings_hash: str | None) -> None:
        """None: the defaults run, without a file."""
        self.settings_info = {} if settings_hash is None else {settings_hash: 1}

    def refuse(self, code: str) -> None:
        self.requests_refused_total[code] = self.requests_refused_total.get(code, 0) + 1

    def turn_away(self, code: str) -> None:
        """On arrival; ``refuse`` counts it too."""
        self.requests_turned_away_total[code] = self.requests_turned_away_total.get(code, 0) + 1

    def render(self, engine_text: str = "") -> str:
        """Prometheus text, version 0.0.4: ours, then what of the engine's does not clash."""
        lines: list[str] = []
        for metric in fields(self):
            name, kind = PREFIX + metric.name, _kind(metric)
            lines.append(f"# HELP {name} {metric.metadata['help']}")
            lines.append(f"# TYPE {name} {kind}")
            lines += samples(name, metric.metadata.get("label"), getattr(self, metric.name))
        lines += passed_through(engine_text)
        return "\n".join(lines) + "\n"


def _kind(metric: Field[Any]) -> str:
    if metric.name.endswith("_total"):
        return "counter"
    return "histogram" if "edges" in metric.metadata else "gauge"


def page() -> str:
    """docs/metrics.md."""
    rows = [
        f"| `{PREFIX}{metric.name}` | {_kind(metric)} | {_code(metric.metadata.get('label'))} "
        f"| {metric.metadata['help']} |"
        for metric in fields(Metrics)
    ]
    return "\n".join(
        [
            "# Metrics of the sidecar",
            "",
            "On every worker pod's port 9090 at `/metrics`, followed by the engine's own "
            "(`vllm:*`), so that a pod is one scrape target. Of the engine's, series that end in "
            "`_created` and `http_request_duration_highr_seconds` are left out: a fifth of vLLM's "
            "page, and no use. Written by `make generate` from "
            "`worker/src/batchfleet_worker/metrics.py`.",
            "",
            "| metric | type | label | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
            "Histogram buckets, in seconds: "
            + ", ".join(map(str, BUCKETS))
            + "; of a whole request "
            + ", ".join(map(str, REQUEST_BUCKETS))
            + "; between tokens "
            + ", ".join(map(str, GAP_BUCKETS))
            + ". Clients per engine call: "
            + ", ".join(map(str, CLIENT_BUCKETS))
            + ".",
            "",
        ]
    )


def _code(label: str | None) -> str:
    return f"`{label}`" if label else ""


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 when ``--check`` finds the page out of date."""
    parser = argparse.ArgumentParser(description="Write or check the page of the metrics.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", type=Path, metavar="FILE")
    action.add_argument("--check", type=Path, metavar="FILE")
    chosen = parser.parse_args(arguments)
    if chosen.write:
        chosen.write.write_text(page(), encoding="utf-8")
        return 0
    if chosen.check.is_file() and chosen.check.read_text(encoding="utf-8") == page():
        return 0
    sys.stderr.write(f"{chosen.check} is out of date: run make generate\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
