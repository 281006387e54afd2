"""The queries for the numbers of many rules, and the way back from their samples to the rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from batchfleet_operator.metering.promql.expression import (
    EVERY,
    POD,
    SERVICE,
    By,
    Definition,
    seconds,
    together,
)
from batchfleet_operator.metering.promql.presets import NUMBERS, ROLLOUT, Number

ALL_NUMBERS: Final[Mapping[str, Number]] = dict([*NUMBERS.items(), *ROLLOUT.items()])
"""By preset, or by the name of a rollout's reading."""

SUMS_AT_ONCE: Final = 2
"""Of five thousand pods each: reading an answer of more keeps the process from everything else."""

_OF_PODS: Final = ("value", "samples")


def readings(wanted: Mapping[str, bool], window_seconds: float, pods: str = EVERY) -> list[str]:
    """The queries for the numbers ``wanted``, each with or without those of single pods.

    A sample's ``signal`` is the number's name, a space, and the field of the reading, or the name
    of one of its sums; samples of single pods have the label ``pod``.
    """
    window = seconds(window_seconds)
    return [
        query
        for name, with_pods in sorted(wanted.items())
        for query in _number(name, with_pods and ALL_NUMBERS[name].by_pod, pods, window)
    ]


def _number(name: str, with_pods: bool, pods: str, window: str) -> list[str]:
    number = ALL_NUMBERS[name]

    def query(parts: Mapping[str, Definition], by: By) -> str:
        texts = {
            f"{name} {part}": each.query(by=by, pods=pods, window=window)
            for part, each in parts.items()
        }
        return together(texts)

    if not with_pods:
        return [query(number.parts, SERVICE)]
    if number.summed is not None:
        parts = list(number.summed.parts.items())
        starts = range(0, len(parts), SUMS_AT_ONCE)
        return [query(dict(parts[at : at + SUMS_AT_ONCE]), POD) for at in starts]
    of_pods = {part: each for part, each in number.parts.items() if part in _OF_PODS}
    return [query(number.parts, SERVICE), query(of_pods, POD)]
