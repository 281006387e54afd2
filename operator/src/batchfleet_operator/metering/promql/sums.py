"""Numbers that are asked pod by pod as sums: what value and samples are made of.

Pods' parts add up to a service's, so one query serves for both, and a series that value and samples
share is read once: of five thousand pods each is dear.  The text of the same number in ``presets``
is for rules and pictures; a contract test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from batchfleet_operator.metering.promql.expression import Definition

BUSY_CODES: Final = (
    "draining",
    "too_slow",
    "overloaded",
    "deadline_unreachable",
    "queue_timeout",
)
"""The sidecar's own 503 that say that a pod is busy or leaving: a restart would make it worse.
no_engine and circuit_open are 503 too, but say that its engine is ill."""

BROKEN_CODES: Final = ("engine_broken", "timeout")
"""Streams that broke after they had begun with 200; a whole answer that did is among the 5xx."""

Parts = Mapping[str, float]
"""Those that there are, by name."""


@dataclass(frozen=True, slots=True)
class Sums:
    """The parts of one number, and what they come to for a pod or for all; ``None``: unknown."""

    parts: Mapping[str, Definition]
    value: Callable[[Parts], float | None]
    samples: Callable[[Parts], float | None]

    def of(self, parts: Parts) -> dict[str, float]:
        """What is known, by the reading's field."""
        told = {"value": self.value(parts), "samples": self.samples(parts)}
        return {name: number for name, number in told.items() if number is not None}


def increase(metric: str, matchers: str = "") -> str:
    """Of a counter, over the window."""
    return f"sum by ($by) (increase({metric}{{$pods{matchers}}}[$window]))"


def one_of(codes: tuple[str, ...]) -> str:
    """A matcher of these codes."""
    return f',code=~"{"|".join(codes)}"'


def _sums(texts: Mapping[str, str]) -> dict[str, Definition]:
    return {name: Definition(name, "A part of the number.", text) for name, text in texts.items()}


def _answers(parts: Parts, classes: tuple[str, ...]) -> float | None:
    """Answers of these classes, less those that say "busy"."""
    told = [parts[name] for name in classes if name in parts]
    busy = [parts[name] for name in ("busy", "rejected") if name in parts]
    return max(sum(told) - sum(busy), 0.0) if told or busy else None


def _answered(parts: Parts) -> float | None:
    return _answers(parts, ("good", "failed"))


def _errors(parts: Parts) -> float | None:
    answered, whole, broken = _answered(parts), _answers(parts, ("failed",)), parts.get("broken")
    failed = max((each for each in (whole, broken) if each is not None), default=None)
    return min(failed / answered, 1.0) if failed is not None and answered else None


def errors() -> Sums:
    """Share of the answers that failed, and the answers."""
    refused = "batchfleet_requests_refused_total"
    texts = {
        "good": increase("batchfleet_responses_total", ',code="2xx"'),
        "failed": increase("batchfleet_responses_total", ',code="5xx"'),
        "busy": increase(refused, one_of(BUSY_CODES)),
        "rejected": increase("vllm:admission_rejections_total"),
        "broken": increase(refused, one_of(BROKEN_CODES)),
    }
    return Sums(_sums(texts), _errors, _answered)


def mean(histogram: str) -> Sums:
    """Mean of a histogram, and how many were observed."""

    def value(parts: Parts) -> float | None:
        total, count = parts.get("sum"), parts.get("count")
        return total / count if total is not None and count else None

    texts = {part: increase(f"{histogram}_{part}") for part in ("sum", "count")}
    return Sums(_sums(texts), value, lambda parts: parts.get("count"))


def plain(value: Definition) -> Sums:
    """A number whose values themselves add up, with nothing behind it."""
    return Sums({"value": value}, lambda parts: parts.get("value"), lambda parts: None)
