"""What Prometheus answered, as values: samples into :class:`Signals` and :class:`Reading`.

Between ``prometheus``, which asks, and ``history``, which remembers.  Missing is not zero: a number
that is not there, not finite, or only there for part of what it is about stays ``None``, and takes
nothing else with it.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple

from batchfleet_operator.metering import promql
from batchfleet_operator.metering.signals import AlertState, Reading, Signals
from batchfleet_operator.store import Key

Kind = Literal["vector", "scalar", "matrix", "string"]


class Sample(NamedTuple):
    """One series at one moment."""

    labels: Mapping[str, str]
    value: float  # may be NaN or infinite


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's result; a range or a string has no samples."""

    kind: Kind
    samples: Sequence[Sample] = ()
    warnings: Sequence[str] = ()  # of a server that could not reach all of its data, mostly
    infos: Sequence[str] = ()  # what its author should think about
    at: float | None = None  # Unix time of the evaluation, by the server's clock; None: no samples


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert, or the rule itself: inactive, or not known."""

    name: str
    state: AlertState | None
    labels: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None  # why the rule could not be evaluated


@dataclass
class Found:
    """What a snapshot has of one service; only finite numbers."""

    numbers: dict[str, float] = field(default_factory=dict)
    kv_tokens: float = 0.0  # of all engines that tell


def by_service(answered: Iterable[Answer]) -> dict[tuple[str, str], list[Sample]]:
    """Samples of several answers by namespace and service, to be read one service at a time: all
    at once would keep lease and health waiting."""
    services: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for answer in answered:
        for sample in answer.samples:
            get = sample.labels.get
            services[get("namespace", ""), get("service", "")].append(sample)
    return services


def found(samples: Iterable[Sample]) -> Found:
    """What a snapshot's samples of one service say."""
    told = Found()
    for sample in samples:
        signal = sample.labels.get(promql.SIGNAL, "")
        if not math.isfinite(sample.value):
            continue
        if signal == promql.KV_BLOCKS:
            told.kv_tokens += sample.value * _tokens(sample.labels)
        else:
            told.numbers[signal] = sample.value
    return told


def signals(found: Found, at: datetime, *, engine_tells: bool) -> Signals:
    """The signals of a service with fresh pods.

    ``engine_tells``: its engine is of a kind that has metrics; of another one, the sidecar's alone
    are complete.
    """
    get = found.numbers.get
    mute = get("mute_pods", 0.0)
    # Ready pods whose engine tells nothing: what the engines tell is a part of the whole.
    pods, kv_pods = get(promql.FRESH_PODS, 0.0), get("kv_pods", 0.0)
    engine_tells = engine_tells or kv_pods > 0
    partial = engine_tells and mute > 0
    queued, in_flight, waiting = get("queued"), get("in_flight"), get("waiting")
    known = not partial and (waiting is not None or not engine_tells)
    return Signals(
        at=at,
        state="Found" if get("offered_per_second") is not None else "Missing",
        message=_completeness(pods, get("targets", pods), mute if partial else 0.0),
        fresh_pods=int(pods),
        offered_per_second=get("offered_per_second"),
        completed_per_second=get("completed_per_second"),
        joined_share=get("joined_share"),
        in_flight=None if in_flight is None else max(in_flight - (waiting or 0.0), 0.0),
        queued=queued + (waiting or 0.0) if known and queued is not None else None,
        queued_batch=get("queued_batch"),
        kv_usage=None if partial else get("kv_usage"),
        kv_tokens_per_pod=found.kv_tokens / kv_pods if found.kv_tokens and kv_pods else None,
        prompt_tokens=get("prompt_tokens"),
        output_tokens=get("output_tokens"),
        utilisation=get("utilisation"),
    )


def readings(samples: Iterable[Sample], at: datetime) -> dict[str, Reading]:
    """The readings of one service, by number (``promql.ALL_NUMBERS``)."""
    told: dict[str, _Parts] = defaultdict(_Parts)
    for sample in samples:
        number, _, part = sample.labels.get(promql.SIGNAL, "").partition(" ")
        pod = sample.labels.get("pod")
        if pod is None:
            told[number].whole[part] = sample.value
        else:
            # One string for a pod's name: every tick brings it anew, and histories keep them all.
            told[number].pods[sys.intern(pod)][part] = sample.value
    return {
        number: _reading(promql.ALL_NUMBERS[number], parts, at)
        for number, parts in told.items()
        if number in promql.ALL_NUMBERS
    }


@dataclass(slots=True)
class _Parts:
    """What an answer has of one number of one service, by the name of the part."""

    whole: dict[str, float] = field(default_factory=dict)
    pods: defaultdict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))


def _reading(number: promql.Number, told: _Parts, at: datetime) -> Reading:
    whole, pods, summed = told.whole, told.pods, number.summed
    by_pod: Mapping[str, Mapping[str, float]] = pods
    if summed is not None and (pods or not whole.keys() <= _FIELDS):
        # Asked by pod: a service has what its pods have, and what carries no pod's name.
        whole = summed.of(_added([whole, *pods.values()]))
        by_pod = {pod: summed.of(parts) for pod, parts in pods.items()}
    return Reading(
        at=at,
        value=_known(whole.get("value")),
        samples=_known(whole.get("samples")),
        queue_share=_known(whole.get("queue_share")),
        baseline=_known(whole.get("baseline")),
        by_pod=_of_pods(by_pod, "value"),
        samples_by_pod=_of_pods(by_pod, "samples"),
    )


_FIELDS = frozenset({"value", "samples", "queue_share", "baseline"})


def _added(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = defaultdict(float)
    for each in parts:
        for part, value in each.items():
            total[part] += value
    return total


def _of_pods(by_pod: Mapping[str, Mapping[str, float]], part: str) -> dict[str, float]:
    return {
        pod: parts[part]
        for pod, parts in by_pod.items()
        if part in parts and math.isfinite(parts[part])
    }


def _known(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def one_number(answer: Answer, what: str) -> tuple[float | None, str | None]:
    """A query that is to give one number: the number, or ``None``; and why it never will."""
    match answer.kind:
        case "matrix":
            return None, f"{what} gives a range of samples: put a function such as rate around it"
        case "string":
            return None, f"{what} gives a text, not a number"
    if len(answer.samples) > 1:
        some = ", ".join(_shown(sample.labels) for sample in answer.samples[:2])
        return None, (
            f"{what} gives {len(answer.samples)} series ({some}, ...), not one: add labels to its "
            "matchers, or put sum, max or avg around it"
        )
    if answer.warnings or not answer.samples:
        return None, None
    return _known(answer.samples[0].value), None


def alert(alerts: Iterable[Alert], name: str, key: Key) -> tuple[AlertState | None, str | None]:
    """How the alert ``name`` stands for a service, and why it cannot be said.

    An alert with labels namespace or service counts where they name this one.
    """
    rules = [each for each in alerts if each.name == name]
    if not rules:
        return None, f"Prometheus has no alert rule named {name}"
    problem = next((each.problem for each in rules if each.problem), None)
    if problem is not None:
        return None, problem
    if any(each.state is None for each in rules):
        return None, None
    own = [
        each.state
        for each in rules
        if each.labels.get("namespace", key.namespace) == key.namespace
        and each.labels.get("service", key.name) == key.name
    ]
    states: Sequence[AlertState] = ("firing", "pending")
    return next((state for state in states if state in own), "inactive"), None


def _tokens(labels: Mapping[str, str]) -> float:
    """Of one engine's KV cache; 0: it does not know yet."""
    blocks, size = labels.get("num_gpu_blocks", ""), labels.get("block_size", "")
    return int(blocks) * int(size) if blocks.isdecimal() and size.isdecimal() else 0.0


def _completeness(pods: float, targets: float, mute: float) -> str:
    told = []
    if pods < targets:
        told.append(f"{pods:g} of {targets:g} pods answer Prometheus")
    if mute:
        told.append(f"the engines of {mute:g} pods that take requests have no metrics")
    return "; ".join(told)


def _shown(labels: Mapping[str, str]) -> str:
    inside = ",".join(f"{name}={promql.quoted(value)}" for name, value in sorted(labels.items()))
    return f"{{{inside}}}"[:120]
