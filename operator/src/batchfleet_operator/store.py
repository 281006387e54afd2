"""What we know of the cluster: the latest version of every object that carries our label.

Watch events, refreshing lists and the answers to our own writes all end here, in any order and
more than once; what is older than what we have is refused, so that what we know never goes back.
That makes an idle fleet free: a loop plans from here and calls the API server only to act.

The two ways in which a watch lies are covered: an object that is gone without a DELETED goes with
the next :meth:`Store.refresh`, and an echo of our own write changes nothing and wakes nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from batchfleet_operator import names
from batchfleet_operator.decision import Object
from batchfleet_operator.slim import alike, slim


class Key(NamedTuple):
    """One service."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class _Id(NamedTuple):
    kind: str
    namespace: str
    name: str


class Store:
    """Objects by service.  What it hands out is shared: nobody changes it in place.

    The methods that take news return the services whose loops must look again.
    """

    def __init__(self) -> None:
        self._objects: dict[_Id, Object] = {}
        self._services: dict[Key, set[_Id]] = {}
        self._gone: dict[_Id, int] = {}  # version at which it was seen to be gone
        self._refreshed: dict[tuple[str, str | None], int] = {}

    def parent(self, key: Key) -> Object | None:
        return self._objects.get(_Id(names.KIND, *key))

    def parents(self) -> list[Key]:
        return [Key(id_.namespace, id_.name) for id_ in self._objects if id_.kind == names.KIND]

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        return self._objects.get(_Id(kind, namespace, name))

    def children(self, key: Key) -> list[Object]:
        """Children and pods of a service, by their label; always in the same order."""
        return [
            self._objects[id_]
            for id_ in sorted(self._services.get(key, ()))
            if id_.kind != names.KIND
        ]

    def put(self, new: Object) -> set[Key]:
        """An object as it is, or was: from a watch, or answered to a write of ours."""
        id_, version = _id(new), _version(new)
        old = self._objects.get(id_)
        if version <= self._gone.get(id_, -1) or (old and version <= _version(old)):
            return set()
        self._forget(id_)
        self._gone.pop(id_, None)
        service = _service(new)
        self._objects[id_] = self._compact(id_, service, slim(new))
        self._services.setdefault(service, set()).add(id_)
        if old and id_.kind == names.KIND and _meant(old) == _meant(new):
            return set()  # a status: ours, or one that does not tell us anything
        return {service, _service(old)} if old else {service}

    def remove(self, last: Object) -> set[Key]:
        """An object that is gone, or no longer carries our label, as it was last."""
        return self._remove(_id(last), _version(last))

    def refresh(
        self, kind: str, namespace: str | None, items: Iterable[Object], version: int
    ) -> set[Key]:
        """Everything of a kind that was there at ``version``, in one namespace or in all."""
        woken: set[Key] = set()
        listed = set()
        for item in items:
            listed.add(_id(item))
            woken |= self.put(item)
        for id_ in [
            i for i in self._objects if i.kind == kind and namespace in (None, i.namespace)
        ]:
            if id_ not in listed:
                woken |= self._remove(id_, version)
        # An answer to a write may come late, but not by a whole period.
        before = self._refreshed.get((kind, namespace), 0)
        self._refreshed[kind, namespace] = version
        self._gone = {
            id_: at
            for id_, at in self._gone.items()
            if id_.kind != kind or namespace not in (None, id_.namespace) or at > before
        }
        return woken

    def drop(self, kind: str) -> None:
        """A kind that is no longer served: its objects went with it, and may come again."""
        for id_ in [each for each in self._objects if each.kind == kind]:
            self._forget(id_)

    def _compact(self, id_: _Id, service: Key, new: Object) -> Object:
        """The same, sharing what it can with what we have."""
        match id_.kind:
            case names.POD.kind:
                pods = (i for i in self._services.get(service, ()) if i.kind == id_.kind)
                like = next(pods, None)
                return new if like is None else {**alike(new, self._objects[like])}
            case names.DEPLOYMENT.kind:
                revision = self._objects.get(id_._replace(kind=names.CONTROLLER_REVISION.kind), {})
                told = revision.get("data", {}).get("template")
                if told is None or "template" not in new.get("spec", {}):
                    return new
                spec = new["spec"]
                return {**new, "spec": {**spec, "template": alike(spec["template"], told)}}
            case _:
                return new

    def _remove(self, id_: _Id, version: int) -> set[Key]:
        old = self._objects.get(id_)
        if old and _version(old) > version:
            return set()  # made anew since
        self._gone[id_] = max(version, self._gone.get(id_, -1))
        self._forget(id_)
        return {_service(old)} if old else set()

    def _forget(self, id_: _Id) -> None:
        old = self._objects.pop(id_, None)
        if old is None:
            return
        service = _service(old)
        self._services[service].discard(id_)
        if not self._services[service]:
            del self._services[service]


def _id(object_: Object) -> _Id:
    metadata = object_["metadata"]
    return _Id(object_["kind"], metadata["namespace"], metadata["name"])


def _version(object_: Object) -> int:
    """Versions of one kind are ordered: Kubernetes promises it, every API server does it."""
    return int(object_["metadata"]["resourceVersion"])


def _service(object_: Object) -> Key:
    metadata = object_["metadata"]
    if object_["kind"] == names.KIND:
        return Key(metadata["namespace"], metadata["name"])
    return Key(metadata["namespace"], metadata.get("labels", {}).get(names.LABEL_SERVICE, ""))


def _meant(service: Object) -> tuple[object, ...]:
    """What of a service somebody means something by; the rest is status."""
    metadata = service["metadata"]
    return tuple(
        metadata.get(field)
        for field in ("uid", "generation", "labels", "annotations", "deletionTimestamp")
    )
