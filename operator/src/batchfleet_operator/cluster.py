"""The API server, as the rest of the operator sees it: a few verbs on JSON objects.

The only importer of ``kubernetes``.  It calls paths from its own small table of kinds, without
discovery and without the client's generated models: objects stay the dicts that the core reads
and writes.  Every call is counted, bounded in number at once and in time, and every foreign error
becomes one of ours (``errors``), here and nowhere else.

Nothing here retries: the loop of an object does, from the top, with fresh facts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlencode
from urllib.request import getproxies

import aiohttp
from kubernetes.aio import client, config

from batchfleet_operator import names
from batchfleet_operator.decision import Object
from batchfleet_operator.errors import (
    ConflictError,
    NotFoundError,
    UnavailableError,
    UnreachableError,
    of_answer,
)
from batchfleet_operator.slim import slim

CALLS_AT_ONCE = 16
"""Enough to keep a start-up of a thousand services fast; far below the API server's fair share."""

NO_VERSION = "1"
"""A version that no object has (etcd's own first one), so that apply meets an existing object with
a conflict instead of taking it over; where there is none, apply creates and ignores it."""

CALL_SECONDS = 30.0
PAGE_ITEMS = 100
"""A fifth of what client-go takes at once: five hundred pods as JSON and as dictionaries are 17 MB,
and the event loop waits while they are read."""


KINDS: Mapping[str, names.Kind] = {
    kind.kind: kind
    for kind in (
        names.PARENT,
        *names.CHILD_KINDS,
        *names.OPTIONAL_KINDS,
        names.POD,
        names.NAMESPACE,
        names.SECRET,
        names.Kind("v1", "Event", "events"),
        names.Kind("coordination.k8s.io/v1", "Lease", "leases"),
    )
}
"""Everything that we ever call for, by kind."""


@dataclass(frozen=True)
class Listing:
    """All objects that matched, and the version of the cluster's state that they are of."""

    items: list[Object]
    version: int


@dataclass(frozen=True)
class Credentials:
    """How to reach the API server, for whoever watches it (files are paths)."""

    server: str
    ca_file: str | None
    certificate_file: str | None
    key_file: str | None
    authorization: str | None  # the whole header
    verify: bool


Count = Callable[[str, str], None]
"""Told of each call: its verb and its kind."""


class Cluster:
    """A connection to one API server.

    Every call may raise :class:`ClusterError`; ``namespace=None`` means all namespaces.
    """

    def __init__(self, configuration: client.Configuration, count: Count) -> None:
        self._configuration = configuration
        self._api = client.ApiClient(configuration)
        self._count = count
        self._room = asyncio.Semaphore(CALLS_AT_ONCE)

    @classmethod
    async def connect(
        cls, count: Count = lambda verb, kind: None, kubeconfig: Path | None = None
    ) -> Self:
        """As a pod where we are one, else by ``kubeconfig`` ($KUBECONFIG, ~/.kube/config).

        Raises :class:`UnreachableError`.  ``count`` gets verb and kind of each call.
        """
        configuration = client.Configuration()
        try:
            if kubeconfig is None:
                try:
                    config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
                    # No proxy lies between a pod and its API server.
                    return cls(_with_proxies(configuration, wanted=False), count)
                except config.ConfigException:
                    pass  # not in a pod: a person's machine
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(kubeconfig) if kubeconfig else None,
                client_configuration=configuration,
                persist_config=False,
            )
        except (config.ConfigException, OSError) as error:
            raise UnreachableError(
                "no cluster to talk to: this is no pod, and $KUBECONFIG (~/.kube/config) names "
                f"none: {error}"
            ) from error
        return cls(_with_proxies(configuration, wanted=bool(getproxies())), count)

    async def close(self) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def credentials(self) -> Credentials:
        """The credentials of this moment: a pod's token is read again when it was rotated."""
        settings = await self._configuration.auth_settings()
        token = settings.get("BearerToken")
        return Credentials(
            server=self._configuration.host,
            ca_file=self._configuration.ssl_ca_cert,
            certificate_file=self._configuration.cert_file,
            key_file=self._configuration.key_file,
            authorization=token["value"] if token else None,
            verify=self._configuration.verify_ssl,
        )

    async def has(self, kind: str) -> bool:
        """Whether the cluster serves this kind now."""
        try:
            served = await self._call("discover", kind, "GET", _prefix(kind))
        except NotFoundError:
            return False
        return any(entry["name"] == KINDS[kind].plural for entry in served.get("resources", ()))

    async def get(self, kind: str, namespace: str | None, name: str) -> Object:
        return await self._call("get", kind, "GET", _path(kind, namespace, name))

    async def list(self, kind: str, namespace: str | None, labels: str = "") -> Listing:
        """Everything of a kind that matches a label selector, page by page, without what nobody
        reads: whole, a large fleet's pods are hundreds of megabytes."""
        # A list's items do not say what they are.
        named = {"apiVersion": KINDS[kind].api_version, "kind": kind}
        items: list[Object] = []
        query = {"limit": str(PAGE_ITEMS), "labelSelector": labels}
        while True:
            page = await self._call("list", kind, "GET", _path(kind, namespace), query)
            items += [slim(named | item) for item in page["items"]]
            metadata = page["metadata"]
            if not metadata.get("continue"):
                break
            query["continue"] = metadata["continue"]
        return Listing(items, int(metadata["resourceVersion"]))

    async def apply(
        self, wanted: Object, *, uid: str | None = None, dry_run: bool = False
    ) -> Object:
        """Server-side apply of the whole object as our field manager; the object as it is then.

        With ``uid`` only to the object of that UID, without only if the name is free; else
        :class:`ConflictError`.  Foreign values of the fields that we want are overwritten.
        A dry run says what the server makes of it, whoever holds the name.
        """
        kind, metadata = wanted["kind"], wanted["metadata"]
        query = {"fieldManager": names.FIELD_MANAGER, "force": "true"}
        if dry_run:
            query["dryRun"] = "All"
        else:
            metadata = metadata | ({"uid": uid} if uid else {"resourceVersion": NO_VERSION})
        return await self._call(
            "dry-run" if dry_run else "apply",
            kind,
            "PATCH",
            _path(kind, metadata["namespace"], metadata["name"]),
            query,
            wanted | {"metadata": metadata},
            "application/apply-patch+yaml",
        )

    async def create(self, new: Object) -> Object:
        """A new object; :class:`ConflictError` where the name is taken."""
        path = _path(new["kind"], new["metadata"]["namespace"])
        query = {"fieldManager": names.FIELD_MANAGER}
        return await self._call("create", new["kind"], "POST", path, query, new)

    async def replace(self, changed: Object, subresource: str = "") -> Object:
        """PUT; with the ``resourceVersion`` that was read, so that nobody's write is lost."""
        metadata = changed["metadata"]
        path = _path(changed["kind"], metadata["namespace"], metadata["name"], subresource)
        query = {"fieldManager": names.FIELD_MANAGER}
        return await self._call("replace", changed["kind"], "PUT", path, query, changed)

    async def patch(self, kind: str, namespace: str, name: str, change: Object) -> Object:
        """Merge-patch; a ``metadata.uid`` in ``change`` is a precondition."""
        return await self._call(
            "patch",
            kind,
            "PATCH",
            _path(kind, namespace, name),
            {"fieldManager": names.FIELD_MANAGER},
            change,
            "application/merge-patch+json",
        )

    async def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Delete exactly this object, its dependants in the background; gone already is fine."""
        options = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        path = _path(kind, namespace, name)
        try:
            await self._call("delete", kind, "DELETE", path, {}, options)
        except (NotFoundError, ConflictError):
            return  # ConflictError: the name is somebody else's by now

    async def _call(
        self,
        verb: str,
        kind: str,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        url = f"{self._configuration.host}{path}"
        given = {name: value for name, value in (query or {}).items() if value}
        if given:
            url += "?" + urlencode(given)
        headers = {"Accept": "application/json", "Content-Type": content_type}
        async with self._room:
            self._count(verb, kind)
            try:
                await self._api.update_params_for_auth(
                    headers, None, ["BearerToken"], path, method, body
                )
                answer = await self._api.call_api(
                    method, url, headers, body, _request_timeout=CALL_SECONDS
                )
                text: bytes = await answer.read()  # type: ignore[no-untyped-call]
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = str(error) or type(error).__name__
                raise UnavailableError(f"{verb} {kind} {path}: {reason}") from error
        if answer.status >= 400:
            raise of_answer(answer.status, text)
        found: Object = json.loads(text)
        return found


def _with_proxies(configuration: client.Configuration, *, wanted: bool) -> client.Configuration:
    """Whether the environment is asked for a proxy: a thread's work per call, found or not."""
    configuration.client_session_kwargs = {"trust_env": wanted}
    return configuration


def _prefix(kind: str) -> str:
    """``/api/v1`` or ``/apis/apps/v1``."""
    version = KINDS[kind].api_version
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _path(kind: str, namespace: str | None, name: str = "", subresource: str = "") -> str:
    parts = [_prefix(kind)]
    if namespace is not None:
        parts.append(f"namespaces/{quote(namespace, safe='')}")
    parts.append(KINDS[kind].plural)
    parts += [quote(part, safe="") for part in (name, subresource) if part]
    return "/".join(parts)
