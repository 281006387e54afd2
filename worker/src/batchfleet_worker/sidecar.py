"""The sidecar as a process: every part made once, connected, run until SIGTERM, ended in order.

data port ──offer──► Pipeline ──send──► Pool ──► engine ◄──asks── Prober
                        ▲  ▲                                        │
      LiveFile ──apply──┘  └────────── Drain ◄──────engine back─────┘
admin port: shows all of it
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import uvloop

from batchfleet_worker import access, admin, relay, tracing, watch
from batchfleet_worker.accesslog import AccessLog
from batchfleet_worker.client import LINGER_SECONDS, Patience
from batchfleet_worker.drain import Drain, Phase
from batchfleet_worker.engine import Engine
from batchfleet_worker.exchange import Timer
from batchfleet_worker.finished import Finished
from batchfleet_worker.inquiry import Inquirer
from batchfleet_worker.intake import Intake, RequestIds
from batchfleet_worker.key import MergeKeys
from batchfleet_worker.live import LiveSettings
from batchfleet_worker.memory import Budget
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.openai import Routes
from batchfleet_worker.pipeline import Bounds, Pipeline
from batchfleet_worker.prober import Prober
from batchfleet_worker.relay import DataPort
from batchfleet_worker.salt import Salts
from batchfleet_worker.settings import Settings, Warmup
from batchfleet_worker.upstream import Pool
from batchfleet_worker.watch import LiveFile
from batchfleet_worker.watched import Watch

VERSION = version("batchfleet-worker")
ADMIN_LINGER_SECONDS = 1.0  # for who waits for the end of a drain to be told of it

log = logging.getLogger(__name__)


class LoopClock:
    """The loop's timers, with a time that is not rounded to the loop's last turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.time = time.monotonic

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer:
        return self._loop.call_later(max(0.0, when - self.time()), callback)


class Sidecar:
    """The parts, and what the admin port may ask of them."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        clock = LoopClock(loop)
        self.metrics = Metrics(build_info={VERSION: 1})
        self.budget = Budget(settings.memory_bytes)
        self.access = access.of(settings, secrets.token_bytes(32), self.metrics)
        self.pool = Pool(*settings.upstream_address, loop)
        self.pipeline = Pipeline(
            self.pool.send,
            clock,
            self.metrics,
            MergeKeys(secrets.token_bytes(32), settings.max_merge_body_bytes),
            bounds=Bounds(settings.replay_bytes, settings.lag_bytes),
            budget=self.budget,
            engine_priority=settings.engine_priority,
            random=random.random,
            salts=Salts(secrets.token_bytes(32)) if settings.salts_prefixes else None,
        )
        self.tracing = _tracing(settings)
        listeners: list[Callable[[Finished], None]] = []
        if settings.access_log_percent:
            listeners.append(_access_log(settings.access_log_percent))
        if self.tracing is not None:
            listeners.append(self.tracing)
        watched = Watch(self.pipeline.offer, listeners, clock.time) if listeners else None
        ids = RequestIds(secrets.token_hex(6)).next
        self.port = DataPort(
            watched.offer if watched else self.pipeline.offer,
            Intake(
                Routes(settings.extra_paths),
                ids,
                settings.max_body_bytes,
                settings.max_header_bytes,
                self.budget,
                self.access,
                settings.held_body_bytes,
            ),
            self.metrics,
            clock.time,
            Patience(
                settings.head_timeout_seconds,
                settings.body_timeout_seconds,
                settings.idle_timeout_seconds,
            ),
            random.random,
        )
        self.port.on_refused = watched.refused if watched else None
        self.admin = admin.port(self, ids, settings.max_header_bytes, clock.time)
        self.drain = Drain(
            clock,
            self.pipeline,
            self.port,
            settings.drain_settle_seconds,
            settings.drain_timeout_seconds,
        )
        self.pipeline.when_idle = self.drain.idle
        self.engine = Engine(settings.engine_stall_seconds)
        self._inquirer = Inquirer(Pool(*settings.upstream_address, loop))
        self.prober = Prober(
            self._inquirer,
            self.engine,
            self.pipeline,
            self.drain.engine_back,
            self.metrics,
            clock.time,
            settings.warmup is Warmup.AUTO,
            settings.prompts,
        )
        self.pool.on_refused = self.prober.wake
        self.live = (
            LiveFile(settings.live_settings, self.apply, self.metrics)
            if settings.live_settings
            else None
        )
        self._now = clock.time

    def apply(self, live: LiveSettings) -> None:
        self.pipeline.apply(live)
        self.port.apply(live.requests)

    # --- admin.Sidecar

    def unready(self) -> str:
        if self.drain.phase is not Phase.SERVING:
            return "draining"
        return self.engine_ill() or ("" if self.prober.warm else self.prober.reason)

    def engine_ill(self) -> str:
        return self.engine.ill(self._now())

    def metrics_text(self) -> str:
        self.metrics.ready = int(not self.unready())
        self.pipeline.count()
        return self.metrics.render(self.prober.metrics_text)

    def state(self) -> dict[str, Any]:
        reason = self.unready()
        account = self.pipeline.drain_account
        return {
            "version": VERSION,
            "ready": not reason,
            "reason": reason,
            "draining": self.drain.phase is not Phase.SERVING,
            "inFlight": self.pipeline.in_flight,
            "queued": self.pipeline.queued,
            "limit": self.pipeline.limit,
            "settings": {
                "hash": self.live.hash if self.live else None,
                "error": self.live.error if self.live else None,
            },
            "access": {"error": self.access.error},
            "engine": {"warm": self.prober.warm, "restarts": self.engine.restarts},
            "drain": {
                "drained": account.drained,
                "handedBack": account.handed_back,
                "aborted": account.aborted,
            },
        }

    async def drained(self) -> None:
        self.drain.begin()
        await self.drain.over.wait()

    # --- the process's own

    def sweep(self) -> None:
        self.port.sweep()
        self.admin.sweep()

    def close(self) -> None:
        """Ends every connection at once."""
        self.pool.close()
        self._inquirer.close()
        self.port.abort()
        self.admin.abort()


def _access_log(percent: float) -> AccessLog:
    out = sys.stdout.buffer

    def write(line: bytes) -> None:
        out.write(line)
        out.flush()

    return AccessLog(percent, write, random.random, time.time)


def _tracing(settings: Settings) -> tracing.Tracing | None:
    if settings.traces_endpoint is None:
        return None
    return tracing.to_collector(
        settings.traces_endpoint, settings.traces_percent, random.random, time.time
    )


async def serve(settings: Settings, stopped: asyncio.Event) -> None:
    """Run until ``stopped`` is set, drain, return.  Raises ``OSError`` for a port that is taken."""
    loop = asyncio.get_running_loop()
    sidecar = Sidecar(settings, loop)
    with contextlib.ExitStack() as at_end:
        at_end.callback(sidecar.close)
        admin_server = await loop.create_server(
            sidecar.admin.client, settings.admin_host, settings.admin_port
        )
        at_end.callback(admin_server.close)
        sidecar.access.poll()
        if sidecar.live:
            sidecar.live.poll()  # before the first request, not after
        server = await loop.create_server(
            sidecar.port.client, settings.host, settings.port, backlog=1024
        )
        at_end.callback(server.close)
        log.info(
            "batchfleet-worker %s: %s:%d in front of %s, admin on %s:%d",
            VERSION,
            settings.host,
            settings.port,
            settings.upstream,
            settings.admin_host,
            settings.admin_port,
        )
        # What is there now stays: without this the collector looks through all of it again, 15 ms
        # in which nobody is answered.
        gc.collect()
        gc.freeze()
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(sidecar.prober.run())]
                running.append(tasks.create_task(_every(relay.SWEEP_SECONDS, sidecar.sweep)))
                running.append(tasks.create_task(_every(access.POLL_SECONDS, sidecar.access.poll)))
                if sidecar.live:
                    running.append(tasks.create_task(_every(watch.POLL_SECONDS, sidecar.live.poll)))
                await stopped.wait()
                sidecar.drain.begin(final=True)
                await sidecar.drain.over.wait()
                await _farewell(sidecar.port, server, LINGER_SECONDS)
                # Last, since the kubelet and the operator ask until the end.
                await _farewell(sidecar.admin, admin_server, ADMIN_LINGER_SECONDS)
                for task in running:
                    task.cancel()
        finally:
            if sidecar.tracing:
                await asyncio.to_thread(sidecar.tracing.shutdown)
    log.info("ended: %s", json.dumps(sidecar.state()["drain"]))


async def _every(seconds: float, do: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        do()


async def _farewell(port: DataPort, server: asyncio.Server, seconds: float) -> None:
    """Let the last answers out: a closed process takes its sockets' buffers with it."""
    server.close()
    port.draining = True
    port.close_idle()
    try:
        async with asyncio.timeout(seconds):
            await port.empty.wait()
    except TimeoutError:
        log.warning("%d clients did not take their answers", len(port.clients))


def run(settings: Settings) -> None:
    """The command's body.  A second signal ends the process at once."""
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    uvloop.run(_until_signal(settings))


async def _until_signal(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop(number: signal.Signals) -> None:
        log.info("%s: ending", number.name)
        stopped.set()
        loop.remove_signal_handler(number)  # the next one is the system's: the end

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    await serve(settings, stopped)
