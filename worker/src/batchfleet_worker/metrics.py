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
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from batchfleet_worker.key import NotMerged

PREFIX = "batchfleet_"

BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 2.5, 5, 10, 30, 60, 120, 300)
"""Seconds.  Edges at 1 and 2 s, where vLLM's latency histograms have theirs too, so that a share
over a threshold can be compared with the engine's; 300 s is the default request timeout."""


class Histogram:
    """Counts per bucket (not cumulative until rendered), the sum in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds


def _metric(text: str, default: float = 0) -> Any:
    return field(default=default, metadata={"help": text})


def _by(label: str, text: str, values: Iterable[str] = ()) -> Any:
    """One number per label value; those known beforehand start at 0, so that rates see them."""
    known = tuple(values)
    return field(
        default_factory=lambda: dict.fromkeys(known, 0), metadata={"help": text, "label": label}
    )


def _histogram(text: str) -> Any:
    return field(default_factory=Histogram, metadata={"help": text})


@dataclass(slots=True, eq=False)
class Metrics:
    """``*_total`` are counters, ``*_seconds`` histograms, all others gauges."""

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
        ),
    )
    responses_total: dict[str, int] = _by(
        "code",
        "Responses begun, the engine's and the sidecar's own, by class of status.",
        ("2xx", "3xx", "4xx", "5xx"),
    )
    in_flight: int = _metric("Engine calls under way that count against the limit.")
    queued: int = _metric("Engine calls waiting for a slot.")
    in_flight_limit: float = _metric(
        "The live limit of engine calls under way; +Inf: none is set.", math.inf
    )
    queue_wait_seconds: Histogram = _histogram(
        "From a request's arrival until its engine call was sent; 0 for one that joined later."
    )
    time_to_first_byte_seconds: Histogram = _histogram(
        "From a request's arrival until the head of its answer."
    )
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
    build_info: dict[str, int] = _by("version", "1 for the version of the sidecar.")

    @classmethod
    def of(cls, version: str) -> Metrics:
        """Those of a process that starts."""
        return cls(build_info={version: 1})

    def set_settings_hash(self, settings_hash: str | None) -> None:
        """None: the defaults run, without a file."""
        self.settings_info = {} if settings_hash is None else {settings_hash: 1}

    def refuse(self, code: str) -> None:
        self.requests_refused_total[code] = self.requests_refused_total.get(code, 0) + 1

    def response(self, status: int) -> None:
        """Once per response head written to a client."""
        self.responses_total[_CLASSES[status // 100]] += 1

    def render(self, engine_text: str = "") -> str:
        """Prometheus text, version 0.0.4: ours, then what of the engine's does not clash."""
        lines: list[str] = []
        for metric in fields(self):
            name, kind = PREFIX + metric.name, _kind(metric)
            lines.append(f"# HELP {name} {metric.metadata['help']}")
            lines.append(f"# TYPE {name} {kind}")
            lines += _samples(name, metric.metadata.get("label"), getattr(self, metric.name))
        lines += _passed_through(engine_text)
        return "\n".join(lines) + "\n"


_CLASSES = ("1xx", "1xx", "2xx", "3xx", "4xx", "5xx", "5xx", "5xx", "5xx", "5xx")


def _kind(metric: Field[Any]) -> str:
    if metric.name.endswith("_total"):
        return "counter"
    return "histogram" if metric.name.endswith("_seconds") else "gauge"


def _samples(name: str, label: str | None, value: Any) -> Iterator[str]:
    if isinstance(value, Histogram):
        total = 0
        for edge, count in zip((*BUCKETS, math.inf), value.counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{_number(edge)}"}} {total}'
        yield f"{name}_sum {_number(value.sum)}"
        yield f"{name}_count {total}"
    elif label is None:
        yield f"{name} {_number(value)}"
    else:
        for which, number in value.items():
            yield f'{name}{{{label}="{which}"}} {_number(number)}'


def _number(value: float) -> str:
    return "+Inf" if value == math.inf else repr(value)


def _passed_through(text: str) -> Iterator[str]:
    """The engine's lines, less what would spoil the whole page for a scraper.

    That is: names under our prefix, a second HELP or TYPE for a name, OpenMetrics' end mark.
    """
    seen: set[tuple[str, str]] = set()
    for line in text.splitlines():
        if line.startswith("#"):
            words = line.split(None, 3)
            if len(words) < 3 or words[1] not in ("HELP", "TYPE"):
                continue
            about = (words[1], words[2])
            if about in seen or words[2].startswith(PREFIX):
                continue
            seen.add(about)
        elif not line or line.isspace() or line.startswith(PREFIX):
            continue
        yield line


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
            "(`vllm:*`), so that a pod is one scrape target. Written by `make generate` from "
            "`worker/src/batchfleet_worker/metrics.py`.",
            "",
            "| metric | type | label | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
            "Histogram buckets, in seconds: " + ", ".join(map(str, BUCKETS)) + ".",
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
