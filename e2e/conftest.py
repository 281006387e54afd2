"""Fixtures of the e2e tests: one cluster and one operator for all, a namespace for each test.

pytest e2e                                    a kind cluster, made now and removed at the end
pytest e2e --keep                             … left running, and taken up again by the next run
pytest e2e --cluster=current --worker-image=… --operator-image=…
                                              the cluster of $KUBECONFIG, images it can pull
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from e2e.kind.steps import SetupError
from e2e.support import dump
from e2e.support.cluster import Cluster, current, kind
from e2e.support.fixtures import Serve
from e2e.support.fleet import Fleet
from e2e.support.kube import Kube
from e2e.support.load import start_clients
from e2e.support.release import NAMESPACE, Release, values
from e2e.support.services import simulated

CLUSTER = "batchfleet-e2e"
_FAILED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("batchfleet e2e")
    group.addoption("--cluster", choices=("kind", "current"), default="kind")
    group.addoption("--keep", action="store_true", help="leave the kind cluster running")
    group.addoption("--worker-image", help="for --cluster=current: an image it can pull")
    group.addoption("--operator-image", help="for --cluster=current: an image it can pull")


def pytest_configure(config: pytest.Config) -> None:
    # A run that CI stops takes its cluster down as one that is interrupted does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.addinivalue_line("markers", "vllm: runs real vLLM on the CPU; needs its 1.5 GB image")


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    # The image of real vLLM is large: it is loaded when a test of this run wants it.
    wanted = any(item.get_closest_marker("vllm") for item in request.session.items)
    extras = ("vllm", "prometheus") if wanted else ()
    option = pytestconfig.getoption
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with ExitStack() as stack:
        try:
            # The first run builds for many minutes, and says what.
            with capture.global_and_fixture_disabled():
                if option("--cluster") == "current":
                    found = current(option("--worker-image"), option("--operator-image"))
                else:
                    found = stack.enter_context(kind(CLUSTER, extras, keep=option("--keep")))
        except SetupError as missing:
            pytest.exit(str(missing), returncode=pytest.ExitCode.USAGE_ERROR)
        yield found


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> Iterator[Release]:
    """The operator, installed by helm."""
    installed = Release(cluster.kube.at(NAMESPACE), cluster.helm, values(cluster.images))
    installed.install()
    yield installed
    installed.uninstall()


@pytest.fixture(scope="session")
def clients(cluster: Cluster) -> Iterator[Kube]:
    """The namespace whose client pod sends the tests' requests."""
    with _namespace(cluster.kube, "clients") as kube:
        start_clients(kube, cluster.images.worker)
        yield kube


@pytest.fixture
def kube(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Kube]:
    """A namespace of the test's own; what was in it is printed when the test failed."""
    with _namespace(cluster.kube, "test") as own:
        yield own
        if request.node.stash.get(_FAILED, False):
            for title, text in dump.sections(own):
                print(f"----- {title}\n{text}")


@pytest.fixture
def serve(kube: Kube, cluster: Cluster, release: Release) -> Serve:
    """Applies simulated services, for the operator of ``release`` to run; see Serve."""

    def start(
        name: str = "chat",
        *,
        args: Sequence[str] = (),
        engine: Mapping[str, Any] | None = None,
        wait: bool = True,
        **spec: Any,
    ) -> Fleet:
        service = simulated(cluster.images.worker, name, args=args, engine=engine, **spec)
        kube.apply(service)
        fleet = Fleet(kube, name)
        if wait:
            fleet.wait_ready(spec.get("replicas", 1))
        return fleet

    return start


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remembers for the fixtures' teardown that the test failed."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@contextmanager
def _namespace(kube: Kube, prefix: str) -> Iterator[Kube]:
    """A namespace that nobody waits for when it goes: pods take their time to drain."""
    name = f"batchfleet-{prefix}-{secrets.token_hex(3)}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        yield kube.at(name)
    finally:
        kube.delete("namespace", name)
