"""The clients of a fleet: a program that runs in a pod, in the worker image, and counts strictly.

``load.py`` sends this file's text into the cluster and reads the one JSON document it prints.
It knows nothing of batchfleet but what any OpenAI client sees.  Every request ends in one of
three ways:

complete  status 200 and a whole answer: every choice has its finish reason, a stream its [DONE]
refused   an explicit error: an error status with a body, or an error event in a stream
lost      anything else: a reset, an answer cut short, silence past the timeout
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult


class LostError(Exception):
    """The answer is not whole."""


class RefusedError(Exception):
    """The server said no, in words."""


class Known(AbstractResolver):
    """The fleet's address, which stays: no request waits for the cluster's name service."""

    def __init__(self, found: list[ResolveResult]) -> None:
        self._found = found

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return self._found

    async def close(self) -> None:
        """Nothing is held."""


async def ask_once(
    session: aiohttp.ClientSession,
    load: dict[str, Any],
    client: int,
    number: int,
    load_began: float,
) -> dict[str, Any]:
    """Send one chat completion and tell how it ended."""
    streamed = load["stream"] == "always" or (load["stream"] == "mixed" and client % 2 == 1)
    question = load["question"]
    if load["unique"]:
        question = f"{question} [{load['salt']}/{client}/{number}]"
    body = {
        "model": load["model"],
        "messages": [{"role": "user", "content": question}],
        "max_tokens": load["max_tokens"],
        "temperature": 0,
        "stream": streamed,
        **load["extra"],
    }
    began = time.perf_counter()
    told: dict[str, Any] = {
        "client": client,
        "at_seconds": began - load_began,
        "question": question,
        "streamed": streamed,
        "outcome": "complete",
        "why": "",
        "text": "",
        "status": 0,
        "headers": {},
        "first_byte_seconds": 0.0,
    }
    try:
        async with session.post(load["url"] + "/v1/chat/completions", json=body) as answer:
            told["status"] = answer.status
            told["headers"] = {name.lower(): value for name, value in answer.headers.items()}
            told["first_byte_seconds"] = time.perf_counter() - began
            if answer.status != 200:
                raise RefusedError((await answer.text())[:500])
            if streamed:
                told["text"] = await read_stream(answer.content, told, began)
            else:
                told["text"] = whole_text(json.loads(await answer.read()))
    except RefusedError as said:
        told.update(outcome="refused", why=f"{told['status']}: {said}")
    except (
        LostError,
        ValueError,
        LookupError,
        TimeoutError,
        OSError,
        aiohttp.ClientError,
    ) as fault:
        told.update(outcome="lost", why=f"{type(fault).__name__}: {fault}"[:500])
    told["seconds"] = time.perf_counter() - began
    return told


def whole_text(answer: dict[str, Any]) -> str:
    """The text of a whole answer; raises LostError when a choice did not finish."""
    choice = answer["choices"][0]
    if not choice["finish_reason"]:
        raise LostError("an answer without a finish reason")
    return str(choice["message"]["content"])


async def read_stream(content: aiohttp.StreamReader, told: dict[str, Any], began: float) -> str:
    """The text of a stream; LostError when its end is missing, RefusedError at an error event."""
    text: list[str] = []
    finished = ended = False
    async for line in content:
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            ended = True
            continue
        event = json.loads(data)
        if "error" in event:
            raise RefusedError(json.dumps(event["error"]))
        for choice in event["choices"]:
            if not text:
                told["first_byte_seconds"] = time.perf_counter() - began
            text.append(choice["delta"].get("content") or "")
            finished = finished or bool(choice.get("finish_reason"))
    if not (finished and ended):
        raise LostError(f"a stream without its end after {len(text)} chunks")
    return "".join(text)


async def one_client(
    load: dict[str, Any], address: Known, client: int, stop: asyncio.Event, began: float
) -> list[dict[str, Any]]:
    """Requests one after the other over one connection, open as long as the server keeps it."""
    told = []
    timeout = aiohttp.ClientTimeout(total=load["timeout_seconds"])
    connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=3600, resolver=address)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers=load["headers"]
    ) as session:
        number = 0
        while number < load["requests"] or (load["requests"] == 0 and not stop.is_set()):
            told.append(await ask_once(session, load, client, number, began))
            number += 1
            if load["pause_seconds"]:
                await asyncio.sleep(load["pause_seconds"])
    return told


async def arriving(
    load: dict[str, Any], address: Known, stop: asyncio.Event, began: float
) -> list[dict[str, Any]]:
    """Requests that come at a growing rate, whatever became of those before.

    Each has a connection of its own, so that new pods have their share at once.
    """
    ramp = load["ramp"]
    timeout = aiohttp.ClientTimeout(total=load["timeout_seconds"])
    connector = aiohttp.TCPConnector(limit=0, force_close=True, resolver=address)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers=load["headers"]
    ) as session:
        asked: list[asyncio.Task[dict[str, Any]]] = []
        due = began
        while not stop.is_set():
            grown = min((due - began) / ramp["over_seconds"], 1.0)
            due += 1 / (ramp["first"] + (ramp["last"] - ramp["first"]) * grown)
            await asyncio.sleep(due - time.perf_counter())
            asked.append(asyncio.create_task(ask_once(session, load, len(asked), 0, began)))
        return list(await asyncio.gather(*asked))


async def reachable(url: str, within_seconds: float = 30.0) -> Known:
    """The address once it takes connections.

    Name service and kube-proxy learn of a Service's pods a moment after they are ready; what they
    refuse until then is no answer of the fleet's.  Raises OSError when the time is over.
    """
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            found = await aiohttp.ThreadedResolver().resolve(host, port)
            _, writer = await asyncio.open_connection(found[0]["host"], port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return Known(found)


async def main(load: dict[str, Any]) -> None:
    address = await reachable(load["url"])
    stop = asyncio.Event()
    if load["requests"] == 0 or load["ramp"]:  # until whoever started us closes our standard input
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, sys.stdin.read).add_done_callback(lambda _: stop.set())
    print("started", file=sys.stderr, flush=True)
    began = time.perf_counter()
    if load["ramp"]:
        told = [await arriving(load, address, stop, began)]
    else:
        clients = (one_client(load, address, i, stop, began) for i in range(load["clients"]))
        told = await asyncio.gather(*clients)
    seconds = time.perf_counter() - began
    json.dump({"seconds": seconds, "answers": [one for each in told for one in each]}, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
