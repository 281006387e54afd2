"""One control plane for all tests here; a namespace and an operator of its own for each.

A Prometheus for each module that asks one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from batchfleet_operator.metering.signals import Watched
from tests.contract.operator.measured import ALERTS, METRICS, PAST, SERVICES, config, look
from tests.support import simulated
from tests.support.kube import Kube
from tests.support.operator_process import OperatorProcess
from tests.support.prometheus import RealPrometheus


@pytest.fixture(scope="session")
def kube() -> Iterator[Kube]:
    with simulated.cluster() as kube:
        simulated.install_crd(kube)
        yield kube


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    name = f"t-{uuid.uuid4().hex[:8]}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    kube.delete("Namespace", None, name)


@pytest.fixture
def operator(kube: Kube, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    with OperatorProcess(kube, tmp_path, namespace, [namespace]) as operator:
        yield operator.leads()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealPrometheus]:
    folder = tmp_path_factory.mktemp("past")
    with RealPrometheus(folder, past=PAST, metrics=METRICS, alerts=ALERTS) as running:
        yield running


@pytest.fixture(scope="module")
def watched(prometheus: RealPrometheus) -> Callable[[str], Watched]:
    return look(config(prometheus), *SERVICES)
