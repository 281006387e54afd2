"""One query for the numbers of many rules, and the way back from its samples to the rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from batchfleet_operator.metering.promql.expression import EVERY, POD, SERVICE, seconds, together
from batchfleet_operator.metering.promql.presets import NUMBERS, ROLLOUT, Number

ALL_NUMBERS: Final[Mapping[str, Number]] = dict([*NUMBERS.items(), *ROLLOUT.items()])
"""By preset, or by the name of a rollout's reading."""

_OF_PODS: Final = ("value", "samples")


def readings(wanted: Mapping[str, bool], window_seconds: float, pods: str = EVERY) -> str:
    """The query for the numbers ``wanted``, each with or without those of single pods.

    A sample's ``signal`` is the number's name, a space, and the field of the reading; samples of
    single pods have the label ``pod``.
    """
    window = seconds(window_seconds)
    queries = []
    for name, with_pods in sorted(wanted.items()):
        number = ALL_NUMBERS[name]
        parts = {
            f"{name} {part}": each.query(by=SERVICE, pods=pods, window=window)
            for part, each in number.parts.items()
        }
        queries.append(together(parts))
        if with_pods and number.by_pod:
            parts = {
                f"{name} {part}": number.parts[part].query(by=POD, pods=pods, window=window)
                for part in _OF_PODS
                if part in number.parts
            }
            queries.append(together(parts))
    return " or ".join(queries)
