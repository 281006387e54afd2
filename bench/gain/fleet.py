"""What is measured: pods of real vLLM with a sidecar each, on this machine.

The engines are held to one core and everything else to another, as a GPU and a CPU would be: what
the sidecar costs is then seen as latency and never as an engine made slower.  With one core only,
all of it shares that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path

import aiohttp

from batchfleet_worker import live
from bench.processes import Process, Processes, free_port

START_SECONDS = 600  # four engines at once on a busy machine
CACHE_TTL_SECONDS = 30
_POLL_SECONDS = 0.1


class StartError(Exception):
    """An engine or a sidecar did not start; the text holds the end of its log."""


class Arm(StrEnum):
    """Three ways from a client to the engine."""

    DIRECT = "direct"
    SINGLE_FLIGHT = "single-flight"
    CACHED = "with cache"


_LIVE = {
    Arm.SINGLE_FLIGHT: b'{"merging": {"mode": "Enforce", "cacheTTLSeconds": 0}}',
    Arm.CACHED: b'{"merging": {"mode": "Enforce", "cacheTTLSeconds": %d}}' % CACHE_TTL_SECONDS,
}


@dataclass(frozen=True)
class Pod:
    engine: Process
    sidecar: Process
    engine_port: int
    port: int
    admin_port: int
    live_settings: Path


@dataclass(frozen=True)
class Load:
    """What the engines say of themselves, summed over the pods."""

    running: float
    waiting: float
    answered: float


@dataclass(frozen=True)
class CpuSeconds:
    """Processor time so far, summed over the pods."""

    engines: float
    sidecars: float


@dataclass(frozen=True)
class Fleet:
    pods: Sequence[Pod]
    session: aiohttp.ClientSession

    async def ports(self, arm: Arm) -> list[int]:
        """Where the arm's clients connect; the sidecars run its settings when this returns."""
        if arm is Arm.DIRECT:
            return [pod.engine_port for pod in self.pods]
        for pod in self.pods:
            _write(pod.live_settings, _LIVE[arm])
        for pod in self.pods:
            await self._await_settings(pod, live.hash_of(_LIVE[arm]))
        return [pod.port for pod in self.pods]

    async def _await_settings(self, pod: Pod, wanted: str) -> None:
        async with asyncio.timeout(10):
            while True:
                address = f"http://127.0.0.1:{pod.admin_port}/state"
                async with self.session.get(address) as response:
                    settings = (await response.json())["settings"]
                if settings["hash"] == wanted:
                    return
                if settings["error"]:
                    raise StartError(f"the sidecar refuses its settings: {settings['error']}")
                await asyncio.sleep(_POLL_SECONDS)

    async def load(self) -> Load:
        texts = [await self._metrics(pod) for pod in self.pods]
        return Load(
            running=sum(_sample(text, "vllm:num_requests_running") for text in texts),
            waiting=sum(_sample(text, "vllm:num_requests_waiting") for text in texts),
            answered=sum(_sample(text, "vllm:request_success_total") for text in texts),
        )

    def cpu_seconds(self) -> CpuSeconds:
        return CpuSeconds(
            engines=sum(pod.engine.cpu_seconds() for pod in self.pods),
            sidecars=sum(pod.sidecar.cpu_seconds() for pod in self.pods),
        )

    async def _metrics(self, pod: Pod) -> str:
        async with self.session.get(f"http://127.0.0.1:{pod.engine_port}/metrics") as response:
            return await response.text()


@dataclass(frozen=True)
class Cores:
    """Which cores the parts of the bench run on."""

    engines: tuple[int, ...]
    others: tuple[int, ...]

    @classmethod
    def of_this_process(cls) -> Cores:
        usable = sorted(os.sched_getaffinity(0))
        return cls((usable[0],), tuple(usable[1:]) or (usable[0],))


async def start(
    running: Processes,
    folder: Path,
    session: aiohttp.ClientSession,
    *,
    engines: Mapping[int, Sequence[str]],
    environment: Mapping[str, str],
    sidecar: Mapping[str, str],
    cores: Cores,
) -> Fleet:
    """Pods around ``engines`` (port to command), which start together and on all cores.

    ``environment``: of the engines; ``sidecar``: more of the sidecars'.
    """
    everywhere = sorted({*cores.engines, *cores.others})
    started = [
        running.start(f"vllm-{port}", argv, env=environment, cores=everywhere)
        for port, argv in engines.items()
    ]
    pods = []
    for engine, engine_port in zip(started, engines, strict=True):
        await _await_ok(session, engine, engine_port, "/health")
        port, admin_port = free_port(), free_port()
        live_settings = folder / f"live-{engine_port}.json"
        _write(live_settings, _LIVE[Arm.SINGLE_FLIGHT])
        hop = running.start(
            f"sidecar-{engine_port}",
            [sys.executable, "-m", "batchfleet_worker", "sidecar"],
            cores=cores.others,
            env={
                "BATCHFLEET_UPSTREAM": f"http://127.0.0.1:{engine_port}",
                "BATCHFLEET_HOST": "127.0.0.1",
                "BATCHFLEET_PORT": str(port),
                "BATCHFLEET_ADMIN_HOST": "127.0.0.1",
                "BATCHFLEET_ADMIN_PORT": str(admin_port),
                "BATCHFLEET_LIVE_SETTINGS": str(live_settings),
                "BATCHFLEET_DRAIN_SETTLE_SECONDS": "0",
                "BATCHFLEET_DRAIN_TIMEOUT_SECONDS": "0",
                **sidecar,
            },
        )
        await _await_ok(session, hop, admin_port, "/readyz")
        pods.append(Pod(engine, hop, engine_port, port, admin_port, live_settings))
    for engine in started:
        engine.hold(cores.engines)
    return Fleet(pods, session)


async def _await_ok(session: aiohttp.ClientSession, process: Process, port: int, path: str) -> None:
    """Raises :class:`StartError` when it ends first, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while process.alive() and time.monotonic() < deadline:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                if response.status == HTTPStatus.OK:
                    return
        await asyncio.sleep(_POLL_SECONDS)
    tail = process.log.read_text(errors="replace")[-2000:]
    raise StartError(f"{process.name} did not get ready:\n{tail}")


def _write(path: Path, text: bytes) -> None:
    """Whole at once: the sidecar may look at any moment."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(text)
    new.replace(path)


def _sample(text: str, name: str) -> float:
    """The sum of a metric's samples."""
    found = re.findall(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))
