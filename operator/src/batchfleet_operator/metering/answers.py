"""What Prometheus answered, as values: samples into :class:`Signals` and :class:`Reading`.

Between ``prometheus``, which asks, and ``history``, which remembers.  Missing is not zero: a number
that is not there, not finite, or only there for part of what it is about stays ``None``, and takes
nothing else with it.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from batchfleet_operator.metering import promql
from batchfleet_operator.metering.signals import AlertState, Reading, Signals
from batchfleet_operator.store import Key

Kind = Literal["vector", "scalar", "matrix", "string"]


@dataclass(frozen=True, slots=True)
class Sample:
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


def by_service(answer: Answer) -> dict[Key, Found]:
    """A snapshot's samples, by service."""
    services: dict[Key, Found] = defaultdict(Found)
    for key, signal, sample in _ours(answer.samples):
        if signal == promql.KV_BLOCKS:
            services[key].kv_tokens += sample.value * _tokens(sample.labels)
        else:
            services[key].numbers[signal] = sample.value
    return services


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


def numbers(answer: Answer) -> dict[Key, dict[str, Reading]]:
    """Readings by service and number (``promql.ALL_NUMBERS``), all of an early moment: the caller
    sets ``at``."""
    whole: dict[Key, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    pods: dict[Key, dict[str, dict[str, dict[str, float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(dict))
    )
    for key, signal, sample in _ours(answer.samples):
        number, _, part = signal.partition(" ")
        pod = sample.labels.get("pod")
        if pod is None:
            whole[key][number][part] = sample.value
        else:
            # One string for a pod's name: every tick brings it anew, and histories keep them all.
            pods[key][number][part][sys.intern(pod)] = sample.value
    return {
        key: {
            number: Reading(
                at=datetime.min,
                value=whole[key][number].get("value"),
                samples=whole[key][number].get("samples"),
                queue_share=whole[key][number].get("queue_share"),
                baseline=whole[key][number].get("baseline"),
                by_pod=dict(pods[key][number]["value"]),
                samples_by_pod=dict(pods[key][number]["samples"]),
            )
            for number in {*whole[key], *pods[key]}
        }
        for key in {*whole, *pods}
    }


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
    value = answer.samples[0].value
    return (value if math.isfinite(value) else None), None


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


def _ours(samples: Iterable[Sample]) -> Iterator[tuple[Key, str, Sample]]:
    for sample in samples:
        labels = sample.labels
        if math.isfinite(sample.value):
            key = Key(labels.get("namespace", ""), labels.get("service", ""))
            yield key, labels.get(promql.SIGNAL, ""), sample


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
