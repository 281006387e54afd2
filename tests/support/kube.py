"""A person at the API server: what tests do to a cluster, and read from it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from kubernetes import config, dynamic
from kubernetes.client import ApiException

Object = dict[str, Any]

GROUP_VERSION = "batchfleet.io/v1alpha1"
API_VERSIONS = {
    "BatchInferenceService": GROUP_VERSION,
    "Deployment": "apps/v1",
    "ControllerRevision": "apps/v1",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "ClusterRole": "rbac.authorization.k8s.io/v1",
    "ClusterRoleBinding": "rbac.authorization.k8s.io/v1",
    "CustomResourceDefinition": "apiextensions.k8s.io/v1",
    "Lease": "coordination.k8s.io/v1",
}
"""Kinds that are not of ``v1``."""


class RefusedError(Exception):
    """The API server says no; the text is its message."""


class Kube:
    """One API server; every method takes and returns plain JSON."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        client = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        self._client = dynamic.DynamicClient(client)  # type: ignore[no-untyped-call]
        self._lock = threading.Lock()

    def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """None: there is no such object."""
        try:
            found: Object = self._of(kind).get(name=name, namespace=namespace).to_dict()
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        return found

    def need(self, kind: str, namespace: str | None, name: str) -> Object:
        """The object, which must be there."""
        found = self.get(kind, namespace, name)
        assert found is not None, f"there is no {kind} {namespace}/{name}"
        return found

    def list(self, kind: str, namespace: str | None = None, labels: str = "") -> list[Object]:
        found = self._of(kind).get(namespace=namespace, label_selector=labels or None).to_dict()
        items: list[Object] = found["items"]
        return items

    def apply(self, wanted: Object, *, dry_run: bool = False, manager: str = "somebody") -> Object:
        """Server-side apply.  Raises :class:`RefusedError`."""
        try:
            return dict(
                self._of(wanted["kind"])
                .server_side_apply(
                    body=wanted,
                    name=wanted["metadata"]["name"],
                    namespace=wanted["metadata"].get("namespace"),
                    field_manager=manager,
                    force_conflicts=True,
                    **({"dry_run": "All"} if dry_run else {}),
                )
                .to_dict()
            )
        except ApiException as error:
            raise RefusedError(json.loads(error.body or "{}").get("message")) from error

    def create(self, new: Object) -> Object:
        try:
            resource = self._of(new["kind"])
            return dict(
                resource.create(body=new, namespace=new["metadata"].get("namespace")).to_dict()
            )
        except ApiException as error:
            raise RefusedError(json.loads(error.body or "{}").get("message")) from error

    def patch(
        self, kind: str, namespace: str, name: str, change: Object, subresource: str = ""
    ) -> Object:
        """Merge-patch, of the object or of a subresource of it."""
        resource = self._of(kind)
        if subresource:
            resource = resource.subresources[subresource]
        answer = resource.patch(
            name=name,
            namespace=namespace,
            body=change,
            content_type="application/merge-patch+json",
        )
        return dict(answer.to_dict())

    def delete(self, kind: str, namespace: str | None, name: str) -> None:
        self._of(kind).delete(name=name, namespace=namespace)

    def token(self, namespace: str, account: str) -> str:
        """A token of a ServiceAccount, good for an hour."""
        resource = self._of("ServiceAccount").subresources["token"]
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return str(resource.create(name=account, namespace=namespace, body=body).status.token)

    def _of(self, kind: str) -> Any:
        with self._lock:  # the client's discovery is not made for threads
            return self._client.resources.get(api_version=API_VERSIONS.get(kind, "v1"), kind=kind)
