"""What the benches of mixed traffic are as programs: their options, and one run of them."""

from __future__ import annotations

import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Coroutine
from pathlib import Path

import uvloop

from bench import cache
from bench.processes import Processes
from bench.report import CANNOT_RUN, Report, arguments, at_least_one, finish
from bench.traffic.setup import environment

Measure = Callable[[Namespace, Processes, Path, dict[str, str]], Coroutine[None, None, Report]]
"""Of the options, where processes are started and may write, and the sidecar's environment."""


def parser(name: str, about: str, *, seed: int, sessions: int) -> ArgumentParser:
    """``about``: the bench's docstring; its first line is shown."""
    made = arguments(name, about.splitlines()[0])
    made.add_argument("--seed", type=int, default=seed, help="of everything that is drawn by lot")
    made.add_argument("--sessions", type=at_least_one, default=sessions, help="clients at once")
    made.add_argument("--logs", type=Path, help="keep the processes' logs in this folder")
    made.add_argument("--compiled", action="store_true", help="the sidecar as the image has it")
    return made


def run(name: str, options: Namespace, measure: Measure) -> int:
    """The exit status."""
    try:
        sidecar = environment(compiled=options.compiled)
    except cache.MissingError as missing:
        print(f"{name}: {missing}", file=sys.stderr)
        return CANNOT_RUN
    with tempfile.TemporaryDirectory(prefix=f"batchfleet-{name}-") as folder:
        logs = options.logs or Path(folder)
        with Processes(logs) as processes:
            report = uvloop.run(measure(options, processes, logs, sidecar))
    return finish(report, options)
