"""What the sidecar costs, beside no proxy and beside other proxies, all in one run.

    client + engine on one core ──► the proxy under test on the other core

See bench/README.md for what each figure means.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import cache
from bench.hop import proxies, tables
from bench.hop.proxies import (
    AIOHTTP,
    DIRECT,
    DISABLED,
    ENFORCE,
    HAPROXY,
    LITELLM_PROXY,
    NGINX,
    PURE,
    ROUTER,
    Hop,
    Place,
)
from bench.hop.rounds import Rounds, cpu_seconds
from bench.hop.traffic import Load, Shape
from bench.processes import Processes, free_port
from bench.report import CANNOT_RUN, Report, arguments, at_least_one, finish

HERE = Path(__file__).parent
TICK_US = 2000  # between the events of a stream; slow enough that no proxy falls behind
SLOW = (LITELLM_PROXY,)
"""Too slow for 32 such streams."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the parts of a run take, in seconds for each proxy and round."""

    rounds: int
    fewer_rounds: int  # of what is no throughput
    warm: float
    closed: float
    shaped: float
    alone: float
    open: float
    stream: float
    idle: float


FULL = Lengths(
    rounds=5,
    fewer_rounds=3,
    warm=0.5,
    closed=4,
    shaped=3,
    alone=1.5,
    open=8,
    stream=4,
    idle=2,
)
QUICK = Lengths(
    rounds=2,
    fewer_rounds=1,
    warm=0.15,
    closed=0.7,
    shaped=0.5,
    alone=0.2,
    open=1.2,
    stream=0.4,
    idle=0.5,
)


def main() -> int:
    options = _options()
    report = Report("hop", options.quick)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("hop: needs 2 cores: one for the proxy, one for client and engine", file=sys.stderr)
        return CANNOT_RUN
    try:
        with tempfile.TemporaryDirectory(prefix="hop-") as folder:
            _measure(report, options, Path(folder), cores[0], cores[1])
    except cache.MissingError as missing:
        print(f"hop: {missing}", file=sys.stderr)
        return CANNOT_RUN
    return finish(report, options)


def _options() -> Namespace:
    parser = arguments("hop", "What the sidecar costs, beside other proxies.")
    parser.add_argument(
        "--rounds", type=at_least_one, help="turns of each proxy (5; with --quick 2)"
    )
    parser.add_argument(
        "--only",
        metavar="NAMES",
        type=lambda text: text.split(","),
        default=[*_STARTERS, *_PACKAGED],
        help=f"only these, by comma: {', '.join((*_STARTERS, *_PACKAGED))}",
    )
    parser.add_argument(
        "--worker",
        type=Path,
        metavar="SRC",
        help="measure this worker/src as it is; default: ours, compiled as in the image, and not",
    )
    options = parser.parse_args()
    if unknown := set(options.only) - {*_STARTERS, *_PACKAGED}:
        parser.error(f"no such proxy: {', '.join(sorted(unknown))}")
    return options


def _measure(report: Report, options: Namespace, folder: Path, core: int, proxy_core: int) -> None:
    lengths = QUICK if options.quick else FULL
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65536), most))  # as pods have it
    chosen = options.only
    needs = {name: name for name in (NGINX, HAPROXY) if name in chosen}
    servers = cache.programs({"cc": "gcc libc6-dev", "taskset": "util-linux", **needs})
    engine, client = cache.compiled(HERE / "engine.c"), cache.compiled(HERE / "load.c")
    worker = options.worker or cache.compiled_worker()
    with Processes(folder) as running:
        engine_port = free_port()
        argv = [str(engine), str(engine_port), str(TICK_US)]
        running.start("engine", argv, port=engine_port, cores=[core])
        place = Place(running, folder, engine_port, proxy_core, worker)
        hops = [
            Hop(DIRECT, engine_port, engine_port),
            *_start(place, report, chosen, servers, install=not options.quick),
            *([_pure(place)] if "sidecar" in chosen and not options.worker else []),
        ]
        rounds = Rounds(Load(client, folder, core), options.rounds or lengths.rounds)
        _run(report, rounds, hops, lengths)
        report.notes += rounds.failures
    _say("inside")
    tables.inside(report, _inside(options, worker, proxy_core))
    tables.features(report)


def _inside(options: Namespace, worker: Path, core: int) -> dict[str, Any]:
    """``bench.hop.inside`` in a process of its own: this one's memory is not its business."""
    sizes = ("--count", "300", "--flights", "2000") if options.quick else ()
    env = {**os.environ, "PYTHONPATH": str(worker)}
    argv = ["taskset", "--cpu-list", str(core), sys.executable, "-m", "bench.hop.inside", *sizes]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        raise RuntimeError(f"bench.hop.inside failed:\n{done.stderr}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _run(report: Report, rounds: Rounds, hops: Sequence[Hop], lengths: Lengths) -> None:
    fast = [hop for hop in hops if hop.name in (DIRECT, NGINX, HAPROXY, DISABLED, ENFORCE)]
    started = [hop for hop in hops if hop.process]
    time.sleep(1)  # for what they do after they began to listen
    fresh = {hop.name: hop.process.rss_bytes() for hop in started if hop.process}
    idle = _idle(started, lengths.idle)

    _say("memory")
    held = {hop.name: rounds.bytes_in_flight(hop) for hop in started if hop.name not in SLOW}
    _say("throughput")
    plain = rounds.throughput(hops, Shape.PLAIN, lengths.closed, lengths.warm)
    rounds.rounds = min(rounds.rounds, lengths.fewer_rounds)
    tables.throughput(report, hops, plain, rounds.alone(hops, lengths.alone))
    _say("shapes")
    shaped = {
        shape: rounds.throughput(fast, shape, lengths.shaped, lengths.warm)
        for shape in (Shape.TRACED, Shape.VARIED)
    }
    tables.shapes(report, fast, {Shape.PLAIN: plain, **shaped})
    _say("streaming")
    tables.streaming(report, hops, rounds.streaming(hops, lengths.stream, SLOW))
    _say("latency")
    tables.latency(report, fast, rounds.latency(fast, lengths.open))
    used = {hop.name: hop.process.rss_bytes() for hop in started if hop.process}
    tables.memory(
        report,
        {name: tables.Rest(fresh[name], used[name], idle[name], held.get(name)) for name in fresh},
    )


def _idle(hops: Sequence[Hop], seconds: float) -> dict[str, float]:
    """Percent of a core that each proxy takes while nobody asks anything."""
    before = {hop.name: cpu_seconds(hop) for hop in hops}
    time.sleep(seconds)
    return {hop.name: 100 * (cpu_seconds(hop) - before[hop.name]) / seconds for hop in hops}


def _say(what: str) -> None:
    print(f"hop: {what} …", file=sys.stderr, flush=True)


# --- starting

_STARTERS: dict[str, Callable[[Place, Mapping[str, str]], list[Hop]]] = {
    NGINX: lambda place, servers: [proxies.nginx(place, servers[NGINX])],
    HAPROXY: lambda place, servers: [proxies.haproxy(place, servers[HAPROXY])],
    "sidecar": lambda place, _: [
        proxies.sidecar(place, DISABLED, "Disabled"),
        proxies.sidecar(place, ENFORCE, "Enforce"),
    ],
    AIOHTTP: lambda place, _: [proxies.aiohttp(place)],
}
_PACKAGED = {ROUTER: proxies.vllm_router, LITELLM_PROXY: proxies.litellm}
_ORDER = (NGINX, HAPROXY, DISABLED, ENFORCE, AIOHTTP, ROUTER, LITELLM_PROXY)


def _pure(place: Place) -> Hop:
    """The same source without a compiler, to see what that brings."""
    hop = proxies.sidecar(replace(place, worker=None), PURE, "Enforce")
    place.await_port(hop)
    return hop


def _start(
    place: Place,
    report: Report,
    chosen: Sequence[str],
    servers: Mapping[str, str],
    *,
    install: bool,
) -> list[Hop]:
    hops = []
    for name, begin in _PACKAGED.items():  # first: one of them takes long to start
        if name not in chosen:
            continue
        programs = proxies.installed(name, install=install)
        if programs is None:
            report.notes.append(f"Left out, since --quick installs nothing: {name}.")
        else:
            hops.append(begin(place, programs))
    for name, start in _STARTERS.items():
        if name in chosen:
            hops += start(place, servers)
    for hop in hops:
        place.await_port(hop)
    return sorted(hops, key=lambda hop: _ORDER.index(hop.name))


if __name__ == "__main__":
    sys.exit(main())
