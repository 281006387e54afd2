"""Conditions as Kubernetes keeps them, and the events that their transitions are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from batchfleet_operator import names
from batchfleet_operator.decision import Event, Object

TOLD = (names.READY, names.AVAILABLE, names.BYPASSED)
"""Conditions whose transitions are events; the others' reasons are Ready's as well."""

MESSAGE_LENGTH = 4096


@dataclass(frozen=True)
class Said:
    """A condition's value."""

    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str


def time(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def conditions(
    said: Mapping[str, Said], before: Object, generation: int, now: datetime
) -> list[Object]:
    """What is said, as stored; ``lastTransitionTime`` moves only when the status changes."""
    old = {each["type"]: each for each in before.get("conditions", [])}
    return [
        _condition(type_, it, old.get(type_, {}), generation, now) for type_, it in said.items()
    ]


def _condition(type_: str, said: Said, old: Object, generation: int, now: datetime) -> Object:
    same = old.get("status") == said.status and "lastTransitionTime" in old
    return {
        "type": type_,
        "status": said.status,
        "reason": said.reason,
        "message": said.message[:MESSAGE_LENGTH],
        "observedGeneration": generation,
        "lastTransitionTime": old["lastTransitionTime"] if same else time(now),
    }


def transitions(before: Object, after: Object) -> list[Event]:
    """An event for each told condition whose status or reason is another than it was."""
    old = {each["type"]: each for each in before.get("conditions", [])}
    return [
        Event(
            "Warning" if each["reason"] in names.PROBLEMS else "Normal",
            each["reason"],
            each["message"],
        )
        for each in after.get("conditions", [])
        if each["type"] in TOLD and _changed(old.get(each["type"], {}), each)
    ]


def _changed(old: Object, new: Object) -> bool:
    return (old.get("status"), old.get("reason")) != (new["status"], new["reason"])
