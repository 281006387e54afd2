"""A real Prometheus that finds the workers in a list of targets."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import yaml

from batchfleet_operator.metering import promql
from bench.processes import Process, Processes
from e2e.kind import binaries

METRIC = re.compile(r"\b(?:batchfleet_(?!operator)|vllm:)\w+")
WINDOW_SECONDS = 60.0


def start(processes: Processes, folder: Path, port: int, every_seconds: int) -> Process:
    """Prometheus on a port of the loopback; its targets are ``targets.json`` of the folder."""
    (folder / "targets.json").write_text("[]")
    config = {
        "global": {
            "scrape_interval": f"{every_seconds}s",
            "scrape_timeout": f"{min(every_seconds, 10)}s",
        },
        "scrape_configs": [
            {
                "job_name": "workers",
                "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "5s"}],
            }
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    argv = (
        str(binaries.path("prometheus")),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.retention.time=2h",
    )
    return processes.start("prometheus", argv, port=port)


def is_asked_for(metric: str) -> bool:
    """Whether the operator's queries name a metric: of the 426 series of a real page, the others
    would only keep this machine busy."""
    return metric in _asked_for()


@cache
def _asked_for() -> frozenset[str]:
    numbers = dict.fromkeys(promql.ALL_NUMBERS, True), dict.fromkeys(promql.ALL_NUMBERS, False)
    queries = [each for some in numbers for each in promql.readings(some, WINDOW_SECONDS)]
    return frozenset(
        name for each in (*promql.snapshot(), *queries) for name in METRIC.findall(each)
    )
