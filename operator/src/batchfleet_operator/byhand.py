"""What people and other controllers have written into fields that are the automation's.

The API server keeps, for each field of an object, who wrote it last and when (``managedFields``).
Read by ``control``: somebody's own number of pods is respected for an hour, then taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from batchfleet_operator import names
from batchfleet_operator.decision import Object
from batchfleet_operator.observed import parse_time

RESPECTED = timedelta(hours=1)
"""Long enough for somebody at night to find the right field, which is the spec's."""


@dataclass(frozen=True)
class Edit:
    """Somebody's number of pods."""

    manager: str
    replicas: int
    until: datetime


def scaled(deployment: Object, now: datetime) -> Edit | None:
    """Who scaled a Deployment of ours directly, if that is to be respected still."""
    replicas = deployment.get("spec", {}).get("replicas")
    if replicas is None:
        return None
    edits = [
        Edit(entry.get("manager", "somebody"), int(replicas), parse_time(entry["time"]) + RESPECTED)
        for entry in writers(deployment, "f:replicas")
        if entry.get("manager") != names.FIELD_MANAGER and "time" in entry
    ]
    latest = max(edits, key=lambda each: each.until, default=None)
    return latest if latest is not None and latest.until > now else None


def writers(thing: Object, field: str) -> Iterator[Object]:
    """Entries of the managers that own a field of the spec."""
    for entry in thing["metadata"].get("managedFields") or ():
        if field in ((entry.get("fieldsV1") or {}).get("f:spec") or {}):
            yield entry
