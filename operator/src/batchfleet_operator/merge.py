"""Strategic merge of a pod template: what the user's ``podTemplate`` does to the rendered one.

The rules are the API server's for pods (``patchMergeKey`` and ``patchStrategy`` in its types):
maps merge, lists of named things merge by name, other lists are replaced.  ``null`` removes a
field, ``$patch: delete`` removes a list's entry, ``$patch: replace`` replaces instead of merging.
"""

from __future__ import annotations

from typing import Any

from batchfleet_operator.decision import Object

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "env": "name",
    "resourceClaims": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
"""By which field entries of a list are the same; lists that are not here are replaced."""

ONE_SOURCE = frozenset({"volumes", "env"})
"""Lists whose entries have one source among many fields: an entry replaces its namesake."""

DIRECTIVE = "$patch"


def merge(under: Object, over: Object) -> Object:
    """A new object: ``over`` laid over ``under``; neither is changed."""
    if over.get(DIRECTIVE) == "replace":
        return {key: value for key, value in over.items() if key != DIRECTIVE}
    merged = dict(under)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_value(key, under.get(key), value)
    return merged


def _merge_value(key: str, under: Any, over: Any) -> Any:
    if isinstance(over, dict):
        return merge(under if isinstance(under, dict) else {}, over)
    if isinstance(over, list) and key in MERGE_KEYS:
        return _merge_list(key, under if isinstance(under, list) else [], over)
    return over


def _merge_list(key: str, under: list[Any], over: list[Any]) -> list[Any]:
    name = MERGE_KEYS[key]
    if not all(_is_named(entry, name) for entry in [*under, *over]):
        return over  # not what a pod has: the API server will say so in the dry run
    if any(entry.get(DIRECTIVE) == "replace" for entry in over):
        return [entry for entry in over if DIRECTIVE not in entry]
    merged = {entry.get(name): entry for entry in under}
    for entry in over:
        identity = entry.get(name)
        if entry.get(DIRECTIVE) == "delete":
            merged.pop(identity, None)
        elif identity in merged and key not in ONE_SOURCE:
            merged[identity] = merge(merged[identity], entry)
        else:
            merged[identity] = merge({}, entry)
    return list(merged.values())


def _is_named(entry: Any, name: str) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get(name), str | int | None)
