"""A real Prometheus on loopback: with a past written for it, and pods that it scrapes each second.

The past is written to a little beyond now, so that a query sees a fleet that goes on as it did.
"""

from __future__ import annotations

import http.server
import socket
import subprocess
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests
import yaml

from batchfleet_worker.histogram import Histogram
from batchfleet_worker.metrics import Metrics
from e2e.kind import binaries
from tests.support.eventually import eventually

STEP_SECONDS = 5
PAST_SECONDS = 900
AHEAD_SECONDS = 120
STOP_SECONDS = 10


@dataclass
class Pod:
    """What one pod's page says after so many seconds of the same, second by second."""

    namespace: str
    service: str
    name: str
    revision: str = "1"
    offered: float = 10.0  # per second, as all rates here
    merged: float = 0.0
    completed: float = 0.0
    failed: float = 0.0  # answered 500
    busy: float = 0.0  # answered 503 by the sidecar
    broken: float = 0.0  # streams that broke after their beginning
    in_flight: int = 0
    queued: int = 0
    limit: float = 64
    ready: int = 1
    waits: Mapping[float, float] = field(default_factory=dict)  # seconds: how many per second
    first_token: Mapping[float, float] = field(default_factory=dict)
    between: Mapping[float, float] = field(default_factory=dict)
    whole: Mapping[float, float] | None = field(default_factory=dict)  # None: an older sidecar
    engine: Callable[[float], Mapping[str, float]] | None = None  # its series, by name and labels

    def page(self, seconds: float) -> str:
        """The sidecar's page, the engine's behind it."""
        metrics = Metrics.of("test")
        metrics.requests_offered_total = round(self.offered * seconds)
        metrics.requests_merged_total = round(self.merged * seconds)
        metrics.responses_total["5xx"] = round((self.failed + self.busy) * seconds)
        metrics.responses_total["2xx"] = round((self.completed + self.broken) * seconds)
        metrics.requests_refused_total["overloaded"] = round(self.busy * seconds)
        metrics.requests_refused_total["engine_broken"] = round(self.broken * seconds)
        metrics.in_flight, metrics.queued = self.in_flight, self.queued
        metrics.in_flight_limit, metrics.ready = self.limit, self.ready
        metrics.subscribers_per_flight.counts[0] = round(self.completed * seconds)
        metrics.tokens_computed_total["prompt"] = round(self.completed * seconds) * 100
        metrics.tokens_computed_total["completion"] = round(self.completed * seconds) * 40
        _fill(metrics.queue_wait_seconds, self.waits, seconds)
        _fill(metrics.time_to_first_token_seconds, self.first_token, seconds)
        _fill(metrics.inter_token_seconds, self.between, seconds)
        _fill(metrics.request_seconds, self.whole or {}, seconds)
        engine = {} if self.engine is None else self.engine(seconds)
        lines = "".join(f"{series} {value}\n" for series, value in engine.items())
        page = metrics.render(lines)
        return page if self.whole is not None else _without(page, "batchfleet_request_seconds")

    @property
    def labels(self) -> dict[str, str]:
        return {
            "namespace": self.namespace,
            "pod": self.name,
            "service": self.service,
            "revision": self.revision,
        }


def _fill(histogram: Histogram, rates: Mapping[float, float], seconds: float) -> None:
    for value, per_second in rates.items():
        count = round(per_second * seconds)
        histogram.counts[bisect_left(histogram.edges, value)] += count
        histogram.sum += value * count


def _without(page: str, metric: str) -> str:
    return "".join(line for line in page.splitlines(keepends=True) if metric not in line)


class RealPrometheus:
    """Runs for the time of a ``with`` block.

    ``past``: pods that were there, as far as their ``metrics`` go; ``alerts``: rules; ``targets``:
    pods that it scrapes, and their ports of loopback.  One with a past cannot scrape: that reaches
    beyond now, and Prometheus takes no samples from before its newest ones.
    """

    def __init__(
        self,
        folder: Path,
        *,
        past: Iterable[Pod] = (),
        metrics: Collection[str] = (),
        targets: Iterable[tuple[Pod, int]] = (),
        alerts: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self._folder = folder
        self._past = list(past)
        self._names = metrics
        self._port = free_port()
        groups = [{"name": "test", "interval": "1s", "rules": list(alerts)}]
        (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
        pods = [{"targets": [f"127.0.0.1:{port}"], "labels": pod.labels} for pod, port in targets]
        configuration = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "rule_files": [str(folder / "rules.yaml")],
            "scrape_configs": [{"job_name": "pods", "static_configs": pods}],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        if self._past:
            self._write_past()
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    str(binaries.path("prometheus")),
                    f"--config.file={self._folder / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                ],
                stdout=log,
                stderr=log,
            )
        eventually(self._is_ready, within_seconds=90)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/-/ready", timeout=1).ok
        except requests.RequestException:
            return False

    def _write_past(self) -> None:
        now = int(time.time())
        text = self._folder / "past.txt"
        with text.open("w") as file:
            for pod in self._past:
                labels = ",".join(f'{name}="{value}"' for name, value in pod.labels.items())
                for at in range(now - PAST_SECONDS, now + AHEAD_SECONDS, STEP_SECONDS):
                    page = pod.page(at - (now - PAST_SECONDS))
                    file.writelines(_lines(page, labels, at, self._names))
                    file.write(f"up{{{labels}}} 1 {at}\n")
            file.write("# EOF\n")
        subprocess.run(
            [
                str(binaries.path("promtool")),
                *("tsdb", "create-blocks-from", "openmetrics"),
                *(str(text), str(self._folder / "data")),
            ],
            check=True,
            capture_output=True,
        )


def _lines(page: str, labels: str, at: int, names: Collection[str]) -> Iterable[str]:
    for line in page.splitlines():
        series, _, value = line.rpartition(" ")
        name, brace, own = series.partition("{")
        if name in names:
            yield f"{name}{{{labels}{',' + own if brace else '}'} {value} {at}\n"


class Pages:
    """Pods' pages over HTTP, each at a port of its own; a pod may be silenced."""

    def __init__(self, pods: Iterable[Pod]) -> None:
        self._began = time.monotonic()
        self._servers: dict[str, http.server.ThreadingHTTPServer] = {}
        self.pods = {pod.name: pod for pod in pods}
        for pod in self.pods.values():
            self._servers[pod.name] = self._serve(pod)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._servers):
            self.silence(name)

    @property
    def targets(self) -> list[tuple[Pod, int]]:
        return [(self.pods[name], each.server_port) for name, each in self._servers.items()]

    def silence(self, name: str) -> None:
        """Its port is closed from now on; it stays a target."""
        server = self._servers.pop(name)
        server.shutdown()
        server.server_close()

    def _serve(self, pod: Pod) -> http.server.ThreadingHTTPServer:
        pages = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = pages.pods[pod.name].page(time.monotonic() - pages._began).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
