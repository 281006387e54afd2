"""The simulator as a process, and as a guest on a test's event loop.

Start: nothing listens until ``startup_seconds`` are over, as with vLLM.  End: on SIGTERM vLLM
closes its port and stops its engine; answers that are under way are left hanging until it is
killed (seen with 0.32.0), so a client learns nothing.  So it is here.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvloop
from aiohttp import web

from . import settings as flags
from .batch import Batch
from .engine import Engine
from .faults import Faults, Switchboard, control
from .metrics import Metrics
from .server import Server
from .settings import Settings

IDLE_SECONDS = 5  # vLLM closes a kept connection after so long


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator."""

    port: int
    control_port: int | None
    engine: Engine
    server: Server
    switchboard: Switchboard
    _site: web.BaseSite
    _loop: asyncio.Task[None]

    def inject(self, faults: Faults) -> None:
        """Set what goes wrong from now on."""
        self.switchboard.set(faults)

    async def stop(self) -> None:
        """What SIGTERM does: no new connections, no more iterations."""
        await self._site.stop()
        self._loop.cancel()


def _exit() -> None:
    """Die as an engine does that crashed: at once, with nothing said to anybody."""
    os._exit(1)


@asynccontextmanager
async def serve(settings: Settings, crash: Callable[[], None] = _exit) -> AsyncIterator[Simulator]:
    """Run a simulator on this event loop; port 0 takes a free one.

    ``crash`` is called when the faults say that the process dies.  Raises OSError when the port
    is taken.
    """
    batch = Batch(settings.capacity, settings.timing)
    switchboard = Switchboard(settings.faults, random.Random(0))  # noqa: S311 - no secret
    engine = Engine(batch, Metrics(settings.max_model_len), switchboard, settings.speed)
    server = Server(settings, engine, switchboard, crash, time.time())
    runner = web.AppRunner(
        server.app(),
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=IDLE_SECONDS,
        shutdown_timeout=0,
    )
    helm = web.AppRunner(control(switchboard), access_log=None)
    await runner.setup()
    await helm.setup()
    loop = asyncio.create_task(engine.run())
    try:
        site, port = await _listen(runner, settings.host, settings.port)
        control_port = None
        if settings.control_port is not None:
            _, control_port = await _listen(helm, settings.control_host, settings.control_port)
        yield Simulator(port, control_port, engine, server, switchboard, site, loop)
    finally:
        loop.cancel()
        await runner.cleanup()
        await helm.cleanup()
        await asyncio.gather(loop, return_exceptions=True)


async def _listen(runner: web.AppRunner, host: str, port: int) -> tuple[web.BaseSite, int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=2048)
    site = web.SockSite(runner, listening)
    await site.start()
    return site, listening.getsockname()[1]


async def _process(settings: Settings) -> None:
    asked_to_leave = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_leave.set)
    try:
        await asyncio.wait_for(asked_to_leave.wait(), settings.startup_seconds)
    except TimeoutError:
        pass
    else:
        return
    async with serve(settings) as simulator:
        print(f"simulating {settings.names[0]} on port {simulator.port}", flush=True)
        await asked_to_leave.wait()
        await simulator.stop()
        await simulator.server.idle.wait()


def run(args: argparse.Namespace) -> int:
    """Run ``batchfleet-worker simulate`` until SIGTERM; returns the exit status."""
    try:
        settings = flags.of(args)
    except ValueError as error:
        print(f"batchfleet-worker simulate: {error}", file=sys.stderr)
        return 2
    if settings.startup_error:
        time.sleep(settings.startup_seconds)
        print(settings.startup_error, file=sys.stderr)
        return 1
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_process(settings))
    except OSError as error:
        print(f"batchfleet-worker simulate: cannot listen: {error}", file=sys.stderr)
        return 1
    return 0
