"""The real operator as a process of its own, with exactly the rights that the chart gives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.chart import chart
from tests.support.eventually import eventually, never
from tests.support.kube import Kube, Object

STOP_SECONDS = 60


class OperatorProcess:
    """``batchfleet-operator run`` for the time of a ``with`` block.

    ``watched``: namespaces that it looks after; none: all.  Its lease is in ``home``.
    """

    def __init__(
        self, kube: Kube, folder: Path, home: str, watched: Sequence[str], name: str = "one"
    ) -> None:
        self._name = name
        self._log = folder / f"operator-{name}.log"
        self.health_port, self._metrics = _free_port(), _free_port()
        values: Object = {"watch": {"namespaces": list(watched)}}
        installed = _installed(home, values)
        for object_ in installed:
            if object_["kind"] in RIGHTS:
                kube.apply(object_)
        account = chart.one(installed, "ServiceAccount")["metadata"]["name"]
        kubeconfig = folder / f"{name}.kubeconfig"
        kubeconfig.write_text(_kubeconfig(kube, kube.token(home, account)))
        self.config = str(folder / f"{name}.yaml")
        Path(self.config).write_text(next(iter(chart.one(installed, "ConfigMap")["data"].values())))
        self._command = [
            *(sys.executable, "-m", "batchfleet_operator", "run"),
            *("--config", self.config, "--lease-namespace", home),
            *("--health-port", str(self.health_port), "--metrics-port", str(self._metrics)),
            *(f"--namespace={namespace}" for namespace in watched),
        ]
        self._environment = os.environ | {"KUBECONFIG": str(kubeconfig), "POD_NAME": name}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log
            )

    def stop(self) -> int:
        """SIGTERM, as the kubelet does; its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: it has no time for anything."""
        self._end(signal.SIGKILL)

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self) -> int:
        """Its exit code, when it ends by itself."""
        assert self._process is not None
        return self._process.wait(STOP_SECONDS)

    def leads(self) -> Self:
        """Wait until it acts."""
        eventually(lambda: self.health() == "leading", within_seconds=120)
        return self

    def health(self) -> str:
        """What /healthz says; empty: nothing."""
        try:
            return _read(f"http://127.0.0.1:{self.health_port}/healthz").strip()
        except OSError:
            return ""

    def api_calls(self) -> dict[tuple[str, str], int]:
        """Calls so far by verb and kind; not the lease's, which is renewed for ever."""
        return {
            (sample.labels["verb"], sample.labels["kind"]): int(sample.value)
            for sample in self._samples("batchfleet_operator_api_calls_total")
            if sample.labels["kind"] != "Lease"
        }

    def rests(self) -> dict[tuple[str, str], int]:
        """Wait until no call is made for two seconds; the calls so far."""

        def unchanged() -> dict[tuple[str, str], int]:
            calls = self.api_calls()
            # Seldom: its page of metrics is the operator's work, too.
            never(lambda: self.api_calls() != calls, for_seconds=2, every_seconds=0.5)
            return calls

        return eventually(unchanged)

    def looks(self) -> int:
        """Looks at services that ended well."""
        samples = self._samples("batchfleet_operator_reconciles_total")
        return sum(int(s.value) for s in samples if s.labels["outcome"] == "done")

    def cpu_seconds(self) -> float:
        """Used so far, on all cores."""
        assert self._process is not None
        stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mebibytes(self, *, peak: bool = False) -> float:
        """Resident; ``peak``: the most since the process began."""
        assert self._process is not None
        told = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        name = "VmHWM:" if peak else "VmRSS:"
        return next(int(line.split()[1]) for line in told if line.startswith(name)) / 2**10

    def log(self) -> str:
        return self._log.read_text()

    def counts(self) -> dict[str, float]:
        """The sums of its samples by name, without the prefix; not what it tells of services,
        nor of its lease."""
        sums: dict[str, float] = {}
        for sample in self._page():
            if sample.labels.get("kind") != "Lease":
                name = sample.name.removeprefix("batchfleet_operator_")
                sums[name] = sums.get(name, 0.0) + sample.value
        return sums

    def _samples(self, name: str) -> list[Sample]:
        return [sample for sample in self._page() if sample.name == name]

    def _page(self) -> list[Sample]:
        # Long: a page of a thousand services, on a machine that has other work, takes a while.
        text = _read(f"http://127.0.0.1:{self._metrics}/metrics", timeout_seconds=60)
        own = "\n".join(line for line in text.splitlines() if 'service="' not in line) + "\n"
        return [s for family in text_string_to_metric_families(own) for s in family.samples]

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(STOP_SECONDS)


RIGHTS = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def _installed(home: str, values: Object) -> list[Object]:
    """What the chart installs."""
    words = ("template", "op", chart.FOLDER, "--namespace", home, "--kube-version", "1.34.0")
    return chart.load(chart.helm(*words, values=values))


def _kubeconfig(kube: Kube, token: str) -> str:
    """Like that of ``kube``, with somebody else's token in place of its certificate."""
    found = yaml.safe_load(kube.kubeconfig.read_text())
    found["users"][0]["user"] = {"token": token}
    return yaml.safe_dump(found)


def _read(url: str, timeout_seconds: float = 5) -> str:
    with urllib.request.urlopen(url, timeout=timeout_seconds) as answer:  # noqa: S310 - ours
        return str(answer.read().decode())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
