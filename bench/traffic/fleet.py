"""The real sidecar process in front of the engine simulator, and what can be seen of both."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bench.processes import Process, Processes, free_port

WORKER = (sys.executable, "-m", "batchfleet_worker")
READY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Ports:
    data: int
    admin: int
    engine: int
    control: int

    @classmethod
    def free(cls) -> Ports:
        return cls(free_port(), free_port(), free_port(), free_port())


class Fleet:
    """One pod's worth: engine and sidecar; the engine can be killed and started again."""

    def __init__(
        self,
        processes: Processes,
        folder: Path,
        session: aiohttp.ClientSession,
        *,
        name: str = "",
        engine_flags: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.ports = Ports.free()
        self.engine: Process
        self.sidecar: Process
        self.engine_restarts = 0
        self._processes = processes
        self._live = folder / f"{name}live.json"
        self._session = session
        self._name = name
        self._flags = tuple(engine_flags)
        self._environment = dict(environment or {})

    async def start(self, live: Mapping[str, Any]) -> None:
        """Both running, and the sidecar ready."""
        self.settle(live)
        self.engine = await self._start_engine()
        ports = self.ports
        self.sidecar = await asyncio.to_thread(
            self._processes.start,
            f"{self._name}sidecar",
            (*WORKER, "sidecar"),
            port=ports.data,
            env={
                "BATCHFLEET_UPSTREAM": f"http://127.0.0.1:{ports.engine}",
                "BATCHFLEET_HOST": "127.0.0.1",
                "BATCHFLEET_PORT": str(ports.data),
                "BATCHFLEET_ADMIN_HOST": "127.0.0.1",
                "BATCHFLEET_ADMIN_PORT": str(ports.admin),
                "BATCHFLEET_LIVE_SETTINGS": str(self._live),
                "BATCHFLEET_DRAIN_SETTLE_SECONDS": "0",  # no endpoint list names it
                "BATCHFLEET_DRAIN_TIMEOUT_SECONDS": "1",
                **self._environment,
            },
        )
        async with asyncio.timeout(READY_SECONDS):
            while not (await self.state())["ready"]:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)

    def settle(self, live: Mapping[str, Any]) -> None:
        """Write the live settings, all at once as the kubelet does."""
        fresh = self._live.with_suffix(".new")
        fresh.write_text(json.dumps(live))
        fresh.replace(self._live)

    async def restart_engine(self, *, asked: bool) -> None:
        """Kill the engine and start it anew.  ``asked``: with a SIGTERM before, which leaves
        what is under way hanging, as vLLM does."""
        self.engine_restarts += 1
        if asked:
            os.kill(self.engine.pid, signal.SIGTERM)
            await asyncio.sleep(0.3)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.engine.pid, signal.SIGKILL)
        await asyncio.to_thread(self.engine.stop)  # reaps it
        self.engine = await self._start_engine()

    async def fault(self, **faults: Any) -> None:
        """Set the engine's faults (all others are none); a dead engine has none."""
        address = f"http://127.0.0.1:{self.ports.control}/faults"
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.delete(address):
                pass
            if faults:
                async with self._session.patch(address, json=faults) as answer:
                    answer.raise_for_status()

    def last_words(self) -> str:
        """The end of the sidecar's log, when it has died; else empty."""
        if self.sidecar.alive():
            return ""
        return "The sidecar died:\n" + self.sidecar.log.read_text(errors="replace")[-2000:]

    async def state(self) -> dict[str, Any]:
        async with self._session.get(f"http://127.0.0.1:{self.ports.admin}/state") as answer:
            state: dict[str, Any] = await answer.json()
            return state

    async def metrics(self) -> dict[str, float]:
        """The sidecar's page: sample name with its labels, without the prefix, to value."""
        async with self._session.get(f"http://127.0.0.1:{self.ports.admin}/metrics") as answer:
            text = await answer.text()
        samples = (line.rpartition(" ") for line in text.splitlines() if line[:1] != "#")
        return {
            name.removeprefix("batchfleet_"): float(value)
            for name, _, value in samples
            if name.startswith("batchfleet_")
        }

    async def engine_load(self) -> int:
        """Requests in the engine."""
        async with self._session.get(f"http://127.0.0.1:{self.ports.engine}/load") as answer:
            return int((await answer.json(content_type=None))["server_load"])

    async def calm(self, within_seconds: float) -> dict[str, Any]:
        """The state once nothing is under way any more, or when the time is over."""
        deadline = asyncio.get_running_loop().time() + within_seconds
        while True:
            state = await self.state()
            quiet = not state["inFlight"] and not state["queued"] and not await self.engine_load()
            if quiet or asyncio.get_running_loop().time() > deadline:
                return state
            await asyncio.sleep(0.1)

    async def _start_engine(self) -> Process:
        ports = self.ports
        return await asyncio.to_thread(
            self._processes.start,
            f"{self._name}engine-{self.engine_restarts}",
            (
                *WORKER,
                "simulate",
                f"--port={ports.engine}",
                f"--control-port={ports.control}",
                *self._flags,
            ),
            port=ports.engine,
        )


def open_files(pid: int) -> int:
    """File descriptors that a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names are enough


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
