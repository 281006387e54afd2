"""A namespace that is being deleted lets nothing new in, and nobody needs to hear of it again and
again: its services are on their way out, too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from batchfleet_operator.cluster import Cluster
from batchfleet_operator.decision import Event
from batchfleet_operator.errors import EndingError
from batchfleet_operator.executor import Executor
from batchfleet_operator.memory import Memory
from batchfleet_operator.recorder import Recorder
from batchfleet_operator.store import Store
from tests.support.eventually import eventually
from tests.support.kube import Kube, Object


@pytest.fixture
def ending(kube: Kube, namespace: str) -> Iterator[str]:
    """A namespace that waits for one of its objects to go."""
    holds = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "holds", "namespace": namespace, "finalizers": ["example.com/wait"]},
    }
    kube.create(holds)
    kube.delete("Namespace", None, namespace)
    eventually(lambda: kube.need("Namespace", None, namespace)["metadata"]["deletionTimestamp"])
    yield namespace
    kube.patch("ConfigMap", namespace, "holds", {"metadata": {"finalizers": []}})


def test_what_it_refuses_is_no_refusal_of_the_object(
    kube: Kube, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    owner: Object = {"metadata": {"namespace": ending, "name": "chat", "uid": "1"}}
    wanted: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "new", "namespace": ending},
    }

    async def act() -> None:
        cluster = await Cluster.connect(kubeconfig=kube.kubeconfig)
        try:
            executor = Executor(cluster, Store(), Memory("1"), ending, lambda: datetime.now(UTC))
            with pytest.raises(EndingError):
                await executor.apply([wanted])
            with pytest.raises(EndingError):
                await executor.dry_run(wanted)
            event = Event("Normal", "RevisionCut", "revision chat-1 is cut")
            await Recorder(cluster, lambda: datetime.now(UTC)).post(owner, event)
        finally:
            await cluster.close()

    with caplog.at_level(logging.INFO):
        asyncio.run(act())
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
