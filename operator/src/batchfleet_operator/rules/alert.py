"""The words of alerts for people: what a record and an alert are, and what they are about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from batchfleet_operator.metering.promql import SERVICE

OPERATOR: Final = "batchfleet_operator"
# In what people read: of which service, and how much.
OF: Final = "{{ $labels.namespace }}/{{ $labels.service }}"
SHARE: Final = "{{ $value | humanizePercentage }}"


@dataclass(frozen=True)
class Record:
    """A series that is computed once, for alerts and for people's own pictures."""

    name: str
    expr: str
    help: str


@dataclass(frozen=True)
class Alert:
    """What a person is told, and when."""

    name: str
    severity: Literal["critical", "warning"]  # critical: somebody is to be woken
    expr: str
    lasting: str  # for so long; empty: at once
    summary: str
    description: str


def condition(type_: str, reason: str = "") -> str:
    """Services whose condition is False; of them those with, or without, these reasons."""
    matched = f'type="{type_}"' + (f",{reason}" if reason else "")
    return f"max by ({SERVICE}) ({OPERATOR}_condition{{{matched}}}) == 0"
