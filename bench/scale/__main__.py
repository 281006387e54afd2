"""``python -m bench.scale``: a thousand services, five thousand pods, and one operator.

The control plane and Prometheus are real; nodes are simulated, and one process answers for all
pods (``workers``).  The operator is a process of its own with the rights that its chart gives it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import yaml

from bench.processes import Processes, free_port
from bench.report import CANNOT_RUN, Bar, Report, arguments, at_least_one, finish
from bench.scale import fleet, page, scrape
from bench.scale.watcher import Counts, Health, watch
from e2e.kind import binaries, steps
from tests.support import simulated
from tests.support.eventually import eventually
from tests.support.kube import Kube
from tests.support.operator_process import OperatorProcess
from tests.support.services import settings_hash

SERVICES, QUICK_SERVICES = 1000, 40
PODS, QUICK_PODS = 5, 3
TICK_EVERY_SECONDS, QUICK_TICK_EVERY_SECONDS = 15, 5
"""Of the operator's ticks and of Prometheus' scrapes."""
TICKS_WATCHED, TICKS_TO_SETTLE = 6, 8

TICK_SECONDS = 5.0
MEMORY_MEBIBYTES = 300.0
RESTART_SECONDS = 120.0
PATIENCE_SECONDS = 1800.0
LIST_SECONDS = 5.0
"""Between two lists of all services: they take a core for a second."""
SAY_SECONDS = 20.0
"""Between two lines that say how far a step is."""


class Bench:
    """A fleet with its operator, step by step."""

    def __init__(
        self, kube: Kube, operator: OperatorProcess, processes: Processes, folder: Path
    ) -> None:
        self._kube = kube
        self._operator = operator
        self._processes = processes
        self._folder = folder

    def build(self, services: int, pods: int, report: Report) -> None:
        """From the CRD to a fleet that is as specified and found in Prometheus."""
        recorded = asyncio.run(page.record(self._processes, self._folder))
        simulated.install_crd(self._kube)
        self._operator.leads()
        fleet.apply(self._kube, [0], pods)
        settings = eventually(lambda: _settings(self._kube), within_seconds=60)
        port = self._start_workers(page.only(recorded, scrape.is_asked_for), services * pods)
        with _step(report, "services are ready", self._operator):
            _put(f"http://127.0.0.1:{port}/hash", settings)
            fleet.apply(self._kube, range(1, services), pods)
            ready = partial(fleet.condition_true, self._kube, "Ready")
            self._wait("ready", services, ready, LIST_SECONDS)
        listed = fleet.write_targets(self._kube, port, self._folder / "targets.json")
        if listed != services * pods:
            raise SystemExit(f"scale: {listed} pods instead of {services * pods}")
        with _step(report, "metrics are found", self._operator):
            found = partial(fleet.condition_true, self._kube, "MetricsAvailable")
            self._wait("found", services, found, LIST_SECONDS)

    def settle(self, every_seconds: float, report: Report) -> None:
        """Until a tick has nothing to say that the tick before had not said."""
        with _step(report, "nothing is said any more", self._operator):
            for _ in range(TICKS_TO_SETTLE):
                before = self._operator.api_calls()
                time.sleep(every_seconds)
                after = self._operator.api_calls()
                if after == before:
                    break
                calls = sum(after.values()) - sum(before.values())
                steps.say(f"  {calls} API calls in {every_seconds:g} s")

    def watch(self, seconds: float, report: Report) -> list[Counts]:
        """Ticks of a fleet of which nothing is asked."""
        with Health(self._operator) as health:
            steps.say(f"watching for {seconds:g} s")
            seen = watch(self._operator, seconds)
        _add_health(report, "between ticks and in them", health)
        return seen

    def restart(self, services: int, report: Report) -> float:
        """Seconds from the death of one process until its successor has looked at every service
        and asked Prometheus about all."""
        self._operator.kill()
        begun = time.monotonic()
        self._operator.start()
        with _step(report, "restarted", self._operator), Health(self._operator) as health:
            eventually(lambda: self._operator.health() == "leading", within_seconds=60)
            self._wait("looked at", services, self._operator.looks)
            self._wait("ticked", 1, lambda: self._operator.counts()["ticks_total"])
            took = time.monotonic() - begun
        _add_health(report, "restart", health)
        return took

    def _start_workers(self, recorded: str, pods: int) -> int:
        (self._folder / "page").write_text(recorded)
        addresses = self._folder / "addresses"
        addresses.write_text("\n".join(simulated.addresses(pods)))
        port = free_port()
        options = ("--port", str(port), "--page", str(self._folder / "page"))
        argv = (sys.executable, "-m", "bench.scale.workers", *options)
        self._processes.start("workers", (*argv, "--addresses", str(addresses)), port=port)
        return port

    def _wait(
        self, what: str, wanted: int, count: Callable[[], float], every_seconds: float = 1
    ) -> None:
        begun = said = time.monotonic()

        def enough() -> bool:
            nonlocal said
            if not self._operator.alive():
                words = self._operator.log()[-300:]
                raise SystemExit(
                    f"scale: the operator has ended, while waiting for {what}: {words}"
                )
            found = count()
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                steps.say(f"  {found:g} of {wanted} {what} after {said - begun:.0f} s")
            assert found >= wanted, f"{found:g} of {wanted} {what}"
            return True

        eventually(enough, within_seconds=PATIENCE_SECONDS, every_seconds=every_seconds)


def _settings(kube: Kube) -> str:
    assert kube.get("ConfigMap", fleet.HOME, f"{fleet.name(0)}-1-live"), "no live settings yet"
    return settings_hash(kube, fleet.HOME, f"{fleet.name(0)}-1")


def _put(url: str, body: str) -> None:
    request = urllib.request.Request(url, data=body.encode(), method="PUT")  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - ours
        pass


@contextlib.contextmanager
def _step(report: Report, what: str, operator: OperatorProcess):  # type: ignore[no-untyped-def]
    begun, calls, cpu = time.monotonic(), 0, 0.0
    with contextlib.suppress(OSError):  # a process that has just begun has no page yet
        calls, cpu = sum(operator.api_calls().values()), operator.cpu_seconds()
    yield
    steps.say(f"{what}: {time.monotonic() - begun:.0f} s")
    report.add(
        "Steps",
        step=what,
        seconds=time.monotonic() - begun,
        operator_cpu_s=operator.cpu_seconds() - cpu,
        api_calls=sum(operator.api_calls().values()) - calls,
        rss_mib=operator.memory_mebibytes(),
        peak_mib=operator.memory_mebibytes(peak=True),
    )


def _add_health(report: Report, when: str, health: Health) -> None:
    report.add(
        "Wait for /healthz, ms",
        when=when,
        asked=len(health.waits),
        p50=health.share(0.5),
        p99=health.share(0.99),
        longest=health.share(1),
        over_100=sum(wait > 0.1 for wait in health.waits),
    )


def measure(options: argparse.Namespace, folder: Path) -> Report:
    services = options.services or (QUICK_SERVICES if options.quick else SERVICES)
    pods = options.pods_per_service or (QUICK_PODS if options.quick else PODS)
    every = QUICK_TICK_EVERY_SECONDS if options.quick else TICK_EVERY_SECONDS
    report = Report("scale", options.quick)
    port = free_port()
    with (
        simulated.cluster() as kube,
        Processes(folder) as processes,
        OperatorProcess(kube, folder, fleet.HOME, []) as operator,
    ):
        operator.stop()
        _ask_prometheus(operator, f"http://127.0.0.1:{port}", every)
        operator.start()
        scrape.start(processes, folder, port, every)
        bench = Bench(kube, operator, processes, folder)
        bench.build(services, pods, report)
        bench.settle(every, report)
        seen = bench.watch(TICKS_WATCHED * every, report)
        first_peak = operator.memory_mebibytes(peak=True)
        took = bench.restart(services, report)
        peak = max(first_peak, operator.memory_mebibytes(peak=True))
        resident = operator.memory_mebibytes()
        pods_left = len(kube.list("Pod", fleet.HOME, fleet.WORKERS))
    longest = _add_ticks(report, seen)
    report.bars += [
        Bar("the longest tick without a write, s", longest, at_most=TICK_SECONDS),
        Bar("the operator's memory, peak, MiB", peak, at_most=MEMORY_MEBIBYTES),
        Bar("restart until all was looked at, s", took, at_most=RESTART_SECONDS),
        Bar("pods at the end", pods_left, at_least=services * pods, at_most=services * pods),
    ]
    report.notes.append(
        f"{services} services with {pods} pods each, all with autoscaling and two or three "
        f"alertActions. Resident at the end: {resident:.0f} MiB. A tick is what asking Prometheus "
        "took, and the sum of all looks at services until the next one: a look waits only "
        "where it calls the API server, so where it does not, that is what they took together."
    )
    return report


def _ask_prometheus(operator: OperatorProcess, url: str, tick_seconds: int) -> None:
    file = Path(operator.config)
    config = yaml.safe_load(file.read_text()) or {}
    asked = config.setdefault("monitoring", {}).setdefault("prometheus", {})
    asked |= {"url": url, "tickSeconds": tick_seconds}
    file.write_text(yaml.safe_dump(config))


def _add_ticks(report: Report, seen: list[Counts]) -> float | None:
    """One row per tick; the seconds of the longest one that had nothing to write."""
    quiet = []
    for before, after in pairwise(seen):
        ticks = after.ticks - before.ticks
        asked = (after.tick_seconds - before.tick_seconds) / ticks
        looked = (after.look_seconds - before.look_seconds) / ticks
        calls = int(after.api_calls - before.api_calls)
        if not calls:
            quiet.append(asked + looked)
        report.add(
            "Ticks",
            ticks=int(ticks),
            queries=int(after.queries - before.queries),
            asked_s=asked,
            looks=int(after.looks - before.looks),
            looked_s=looked,
            operator_cpu_s=after.cpu_seconds - before.cpu_seconds,
            api_calls=calls,
        )
    return max(quiet, default=None)


def main() -> int:
    parser = arguments("scale", __doc__.splitlines()[0])
    parser.add_argument("--services", type=at_least_one, help=f"how many (default: {SERVICES})")
    parser.add_argument("--pods-per-service", type=at_least_one, help=f"of each (default: {PODS})")
    parser.add_argument("--logs", type=Path, help="keep the processes' logs in this folder")
    options = parser.parse_args()
    try:
        binaries.ensure([*binaries.SETS["control-plane"], "prometheus", "helm"])
    except steps.SetupError as error:
        print(f"scale: {error}", file=sys.stderr)
        return CANNOT_RUN
    with tempfile.TemporaryDirectory(prefix="batchfleet-scale-") as temporary:
        folder = options.logs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = measure(options, folder)
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())
