"""Fixtures of the e2e tests: one cluster and one operator for all, a namespace for each test.

pytest e2e                                    a kind cluster, made now and removed at the end
pytest e2e --keep                             … left running, and taken up again by the next run
pytest e2e --cluster=current --worker-image=… --operator-image=… --prometheus-image=…
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
from e2e.support import dump, gpus, prometheus
from e2e.support.cluster import Cluster, current, kind
from e2e.support.fixtures import Serve
from e2e.support.fleet import Fleet
from e2e.support.kube import Kube
from e2e.support.load import start_clients
from e2e.support.release import NAMESPACE, Release, values
from e2e.support.services import simulated

CLUSTER = "batchfleet-e2e"
_FAILED = pytest.StashKey[bool]()
_IMAGES = {"vllm": ("vllm",), "stack": ("prometheus-operator", "prometheus-config-reloader")}
"""By the marker of the tests that need them."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("batchfleet e2e")
    group.addoption("--cluster", choices=("kind", "current"), default="kind")
    group.addoption("--keep", action="store_true", help="leave the kind cluster running")
    group.addoption("--worker-image", help="for --cluster=current: an image it can pull")
    group.addoption("--operator-image", help="for --cluster=current: an image it can pull")
    group.addoption("--prometheus-image", help="for --cluster=current: an image it can pull")


def pytest_configure(config: pytest.Config) -> None:
    # A run that CI stops takes its cluster down as one that is interrupted does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    config.addinivalue_line("markers", "vllm: runs real vLLM on the CPU; needs its 1.5 GB image")
    config.addinivalue_line("markers", "stack: runs prometheus-operator; needs its two images")


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    # Images that few tests want are loaded when one of this run does; real vLLM's is large.
    tests = request.session.items
    wanted = [name for name in _IMAGES if any(one.get_closest_marker(name) for one in tests)]
    extras = ("prometheus", *(image for name in wanted for image in _IMAGES[name]))
    option = pytestconfig.getoption
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with ExitStack() as stack:
        try:
            # The first run builds for many minutes, and says what.
            with capture.global_and_fixture_disabled():
                if option("--cluster") == "current":
                    given = ("--worker-image", "--operator-image", "--prometheus-image")
                    found = current(*map(option, given))
                else:
                    found = stack.enter_context(kind(CLUSTER, extras, keep=option("--keep")))
        except SetupError as missing:
            pytest.exit(str(missing), returncode=pytest.ExitCode.USAGE_ERROR)
        yield found


@pytest.fixture(scope="session")
def metrics(cluster: Cluster) -> Kube:
    """Prometheus, which the operator asks; where it runs."""
    prometheus.install(cluster.kube, cluster.images.prometheus)
    return cluster.kube


@pytest.fixture(scope="session")
def release(cluster: Cluster, metrics: Kube) -> Iterator[Release]:
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


@pytest.fixture
def one_gpu(kube: Kube) -> Iterator[None]:
    """A node of the cluster says that it has one GPU."""
    with gpus.installed(kube, 1):
        yield


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
