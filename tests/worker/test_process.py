"""The command as users run it: a process, its exit status and what it says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.worker.wire import EVENTS, OK, PATIENCE_SECONDS, Call, Client, Engine, chunk, post

COMMAND = [sys.executable, "-m", "batchfleet_worker"]
MODELS = b'HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n{"data": [{"id": "m"}]}'


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def test_help_teaches_and_describes_every_setting() -> None:
    shown = run("sidecar", "--help")
    assert shown.returncode == 0
    assert "curl localhost:8080/v1/completions" in shown.stdout
    assert "BATCHFLEET_DRAIN_TIMEOUT_SECONDS (300)" in shown.stdout


def test_a_wrong_setting_ends_the_process_with_one_sentence() -> None:
    ended = run("sidecar", BATCHFLEET_PROT="80")
    assert ended.returncode == 2
    assert ended.stderr == (
        "batchfleet-worker sidecar: "
        "BATCHFLEET_PROT is not a setting of the sidecar; did you mean BATCHFLEET_PORT?\n"
    )


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run("sidecar", BATCHFLEET_ADMIN_PORT=str(port), BATCHFLEET_ADMIN_HOST="127.0.0.1")
    assert ended.returncode == 1
    assert "address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr


class Running:
    """A warm sidecar process in front of a scripted engine."""

    def __init__(self, process: asyncio.subprocess.Process, engine: Engine, port: int) -> None:
        self.process = process
        self.port = port
        self.calls: asyncio.Queue[Call] = asyncio.Queue()  # those of clients
        self._engine = engine
        self._clients: list[Client] = []

    async def answer_the_prober(self) -> None:
        while True:
            call = await self._engine.next()
            if "/v1/chat/completions" in call.line:
                self.calls.put_nowait(call)
            elif "/v1/models" in call.line:
                call.write(MODELS)
            else:
                call.write(OK)

    async def client(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        for client in self._clients:
            client.writer.transport.abort()
        self._engine.abort()
        assert self.process.stderr is not None
        await self.process.stderr.read()
        await self.process.wait()

    async def says(self, text: str) -> None:
        """Wait until the process has logged this."""
        assert self.process.stderr is not None
        async with asyncio.timeout(3 * PATIENCE_SECONDS):
            while line := await self.process.stderr.readline():
                if text in line.decode():
                    return
        raise AssertionError(f"the process ended without saying {text!r}")

    async def ends(self) -> int:
        async with asyncio.timeout(3 * PATIENCE_SECONDS):
            return await self.process.wait()


@asynccontextmanager
async def running() -> AsyncIterator[Running]:
    engine = Engine()
    server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
    port = free_port()
    environment = {
        "BATCHFLEET_UPSTREAM": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        "BATCHFLEET_HOST": "127.0.0.1",
        "BATCHFLEET_PORT": str(port),
        "BATCHFLEET_ADMIN_HOST": "127.0.0.1",
        "BATCHFLEET_ADMIN_PORT": str(free_port()),
        "BATCHFLEET_DRAIN_SETTLE_SECONDS": "0",
    }
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "sidecar", env={**os.environ, **environment}, stderr=subprocess.PIPE
    )
    here = Running(process, engine, port)
    probing = asyncio.create_task(here.answer_the_prober())
    try:
        await here.says("warm: /v1/completions answered")
        yield here
    finally:
        probing.cancel()
        server.close()
        await here.close()


async def test_sigterm_lets_what_is_under_way_finish_and_refuses_the_rest() -> None:
    async with running() as here:
        client, late = await here.client(), await here.client()
        client.send(post(path="/v1/chat/completions"))
        call = await here.calls.get()
        call.write(EVENTS + chunk(b"data: 0\n\n"))
        await client.head()
        assert await client.piece() == b"data: 0\n\n"
        here.process.send_signal(signal.SIGTERM)
        await here.says("draining: waiting for 1 requests")
        assert await late.rest() == b"", "idle connections are closed"
        refused = await (await here.client()).ask(post())
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        call.write(chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        assert await client.piece() == b"data: [DONE]\n\n"
        assert await client.piece() == b""
        client.close()
        await here.says('ended: {"drained": 1, "handedBack": 1, "aborted": 0}')
        assert await here.ends() == 0


async def test_a_second_signal_ends_the_process_at_once() -> None:
    async with running() as here:
        client = await here.client()
        client.send(post(path="/v1/chat/completions"))
        await here.calls.get()
        here.process.send_signal(signal.SIGTERM)
        await here.says("draining: waiting for 1 requests")
        here.process.send_signal(signal.SIGTERM)
        assert await here.ends() == -signal.SIGTERM
        client.close()
