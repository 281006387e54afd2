"""What of an object is kept in memory: all that anybody here reads, and little else.

Comes between the API server's JSON and the store.  Five thousand pods as the server prints them
take 140 MB of dictionaries; of a pod, nobody reads its spec, and of all objects, nobody reads who
manages which field, but for the number of pods that somebody may have set by hand.
"""

from __future__ import annotations

from sys import intern
from typing import Any

from batchfleet_operator import names
from batchfleet_operator.byhand import writers
from batchfleet_operator.decision import Object

POD_STATUS = ("phase", "podIP", "conditions", "initContainerStatuses", "containerStatuses")
CONTAINER = ("name", "image", "ready", "started", "restartCount", "state", "lastState")


def slim(raw: Object) -> Object:
    """``raw`` without what nobody reads; twice is harmless."""
    thing = {**raw, "metadata": _metadata(raw)}
    if raw["kind"] == names.POD.kind:
        thing.pop("spec", None)
        thing["status"] = _pod_status(raw.get("status") or {})
    kept: Object = _shared(thing)
    return kept


def alike(new: Any, other: Any) -> Any:
    """``new``, with the parts of ``other`` that are equal in place of its own: pods of a fleet
    differ in little, and a Deployment repeats what its revision says."""
    if new == other:
        return other
    match new, other:
        case dict(), dict():
            return {name: alike(value, other.get(name)) for name, value in new.items()}
        case list(), list() if len(new) == len(other):
            return [alike(*pair) for pair in zip(new, other, strict=True)]
        case _:
            return new


def _metadata(raw: Object) -> Object:
    metadata = {name: value for name, value in raw["metadata"].items() if name != "managedFields"}
    if raw["kind"] in (names.DEPLOYMENT.kind, names.KIND):
        scalers = [
            {**each, "fieldsV1": {"f:spec": {"f:replicas": {}}}}
            for each in writers(raw, "f:replicas")
        ]
        if scalers:
            metadata["managedFields"] = scalers
    return metadata


def _pod_status(status: Object) -> Object:
    kept = {name: status[name] for name in POD_STATUS if name in status}
    for name in ("initContainerStatuses", "containerStatuses"):
        if name in kept:
            kept[name] = [
                {field: each[field] for field in CONTAINER if field in each} for each in kept[name]
            ]
    return kept


def _shared(thing: Any) -> Any:
    """The same with one copy of each field's name and of words such as ``Running``: every object
    that is parsed brings its own."""
    match thing:
        case dict():
            return {intern(name): _shared(value) for name, value in thing.items()}
        case list():
            return [_shared(each) for each in thing]
        case str() if thing.isalpha():
            return intern(thing)
        case _:
            return thing
