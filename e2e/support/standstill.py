"""Keeps the operator from deleting pods: it has decided, and cannot act."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.support.kube import Kube, KubeError
from e2e.support.release import NAME, NAMESPACE
from e2e.support.wait import NotYetError, until

_OPERATOR = f"system:serviceaccount:{NAMESPACE}:{NAME}"
_REFUSAL = "a test holds deletions"


@contextmanager
def no_deletion(kube: Kube, pod: str) -> Iterator[None]:
    """Within the block the API server refuses every deletion of a pod by the operator.

    Only in the namespace of ``kube``; ``pod`` is one of it, by which is seen that it is in force.
    """
    name = f"{kube.namespace}-no-deletion"
    kube.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "resourceRules": [
                        {
                            "apiGroups": [""],
                            "apiVersions": ["v1"],
                            "operations": ["DELETE"],
                            "resources": ["pods"],
                        }
                    ]
                },
                "matchConditions": [
                    {
                        "name": "by-the-operator",
                        "expression": f"request.userInfo.username == '{_OPERATOR}'",
                    }
                ],
                "validations": [{"expression": "false", "message": _REFUSAL}],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {
                "policyName": name,
                "validationActions": ["Deny"],
                "matchResources": {
                    "namespaceSelector": {
                        "matchLabels": {"kubernetes.io/metadata.name": kube.namespace}
                    }
                },
            },
        },
    )
    try:
        until("deletions refused", lambda: _see_refusal(kube, pod), within_seconds=60)
        yield
    finally:
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            kube.delete(kind, name)


def _see_refusal(kube: Kube, pod: str) -> None:
    """Ask as the operator would, for a deletion that does nothing."""
    try:
        kube.run("delete", "pod", pod, "--dry-run=server", f"--as={_OPERATOR}")
    except KubeError as refusal:
        if _REFUSAL in str(refusal):
            return
        raise
    raise NotYetError("it would be done")
