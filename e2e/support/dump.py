"""What is kept of a failed test: enough to say why, and not more than a screen or two each."""

from __future__ import annotations

from collections.abc import Iterator

from e2e.support.fleet import CHILDREN, KIND
from e2e.support.kube import Kube, KubeError
from e2e.support.release import NAMESPACE, OPERATOR

_SECTION_CHARACTERS = 8000


def sections(kube: Kube) -> Iterator[tuple[str, str]]:
    """Title and text of each thing to look at, of the test's namespace and the operator."""
    yield "services", _text(kube, "get", KIND, "-o", "yaml")
    yield "objects", _text(kube, "get", CHILDREN, "-o", "wide")
    yield "events", _text(kube, "get", "events", "--sort-by=.lastTimestamp")
    operator = kube.at(NAMESPACE)
    yield "operator", _text(operator, "get", "pods", "-o", "wide")
    yield "operator's log", _text(operator, "logs", "-l", OPERATOR, "--tail=120", "--prefix")
    try:
        pods = kube.list("pods", "batchfleet.io/service")
    except KubeError as fault:
        yield "pods", str(fault)
        return
    for pod in pods[:6]:
        name = pod["metadata"]["name"]
        for container in ("sidecar", "engine"):
            yield (
                f"log of {name}/{container}",
                _text(kube, "logs", name, "-c", container, "--tail=60"),
            )


def _text(kube: Kube, *args: str) -> str:
    """The last part of what kubectl says, even when it fails: a dump must not raise."""
    try:
        said = kube.run(*args, timeout_seconds=20)
    except KubeError as fault:
        said = str(fault)
    return said if len(said) <= _SECTION_CHARACTERS else f"[…] {said[-_SECTION_CHARACTERS:]}"
