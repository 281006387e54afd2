"""The simulator as a test or a fleet sees it: stamps, failures on demand, start and end."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from batchfleet_worker.simulator import (
    Capacity,
    Faults,
    Settings,
    Simulator,
    add_arguments,
    asked_hash,
    body_hash,
    caller_hash,
    headers_hash,
    run,
    serve,
)

PROMPT: dict[str, Any] = {
    "model": "simulated",
    "prompt": "A batch is",
    "max_tokens": 4,
    "ignore_eos": True,
}
LONG = {**PROMPT, "max_tokens": 4000}
FAST = Settings(port=0, control_port=0, speed=1000, capacity=Capacity(max_num_seqs=2))


@pytest.fixture
async def crashes() -> list[int]:
    return []


@pytest.fixture
async def simulator(crashes: list[int]) -> AsyncIterator[Simulator]:
    async with serve(FAST, crash=lambda: crashes.append(1)) as running:
        yield running


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{simulator.port}") as session:
        yield session


async def complete(client: aiohttp.ClientSession, **fields: Any) -> dict[str, Any]:
    async with client.post("/v1/completions", json={**PROMPT, **fields}) as response:
        answer = await response.json()
        assert isinstance(answer, dict)
        return answer


async def metric(client: aiohttp.ClientSession, name: str) -> float:
    page = await (await client.get("/metrics")).text()
    (line,) = [line for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
    return float(line.rsplit(" ", 1)[1])


ITERATIONS = "vllm:iteration_tokens_total_count"


async def test_an_answer_tells_whose_it_is(client: aiohttp.ClientSession) -> None:
    sent = json.dumps(PROMPT).encode()
    headers = {"content-type": "application/json", "x-tenant": "a"}
    async with client.post("/v1/completions", data=sent, headers=headers) as response:
        stamp = (await response.json())["simulator"]
        wire = [(k.encode(), v.encode()) for k, v in response.request_info.headers.items()]
    assert stamp["body"] == body_hash(sent) == response.headers["x-simulator-body"]
    assert stamp["headers"] == headers_hash(wire) == response.headers["x-simulator-headers"]
    assert stamp["call"] == response.headers["x-simulator-call"]

    async with client.post(
        "/v1/completions", data=sent, headers={**headers, "x-tenant": "b"}
    ) as response:
        other = (await response.json())["simulator"]
    assert other["body"] == stamp["body"]
    assert other["headers"] != stamp["headers"]
    assert other["call"] != stamp["call"]


def test_headers_that_a_hop_writes_anew_are_not_part_of_the_hash() -> None:
    plain = [(b"Authorization", b"x"), (b"Accept", b"y")]
    hopped = [(b"accept", b"y"), (b"authorization", b"x"), (b"Host", b"z"), (b"X-Request-Id", b"1")]
    assert headers_hash(plain) == headers_hash(hopped)
    assert headers_hash(plain) != headers_hash([(b"Authorization", b"w"), (b"Accept", b"y")])


def test_what_was_asked_and_by_whom_does_not_depend_on_the_form() -> None:
    plain = b'{"prompt": "x", "temperature": 0}'
    formed = b'{"user": "u", "temperature":0, "stream": true, "prompt": "x"}'
    assert asked_hash(plain) == asked_hash(formed)
    assert asked_hash(plain) != asked_hash(b'{"prompt": "y", "temperature": 0}')
    assert caller_hash([(b"Authorization", b"x"), (b"a", b"b")]) == caller_hash(
        [(b"authorization", b"x")]
    )
    assert caller_hash([(b"authorization", b"x")]) != caller_hash([])


async def test_a_pooled_connection_may_close_on_its_next_request(simulator: Simulator) -> None:
    simulator.inject(Faults(drop_pooled_percent=100))
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    body = json.dumps(PROMPT).encode()
    asked = (
        b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )
    writer.write(asked)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    await reader.readexactly(length)
    writer.write(asked)
    assert await reader.read(1) == b""
    writer.close()
    await writer.wait_closed()


async def test_a_connection_may_close_unannounced_after_an_answer(simulator: Simulator) -> None:
    simulator.inject(Faults(close_after_percent=100))
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    body = json.dumps(PROMPT).encode()
    writer.write(
        b"POST /v1/completions HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" not in answer.lower()
    assert answer.endswith(b"}")
    writer.close()
    await writer.wait_closed()


async def test_every_chunk_of_a_stream_is_of_one_call(client: aiohttp.ClientSession) -> None:
    async with client.post("/v1/completions", json={**PROMPT, "stream": True}) as response:
        events = [line async for line in response.content if line.startswith(b"data: {")]
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert {chunk["simulator"]["call"] for chunk in chunks} == {
        response.headers["x-simulator-call"]
    }
    text = "".join(chunk["choices"][0]["text"] for chunk in chunks)
    assert text == (await complete(client))["choices"][0]["text"]


async def test_usage_counts_what_was_generated(client: aiohttp.ClientSession) -> None:
    answer = await complete(client, n=3, max_tokens=5)
    assert answer["usage"]["completion_tokens"] == 15
    assert answer["usage"]["prompt_tokens"] == 3
    assert len({choice["text"] for choice in answer["choices"]}) == 3
    assert await metric(client, "vllm:generation_tokens_total") == 15


async def test_a_client_that_leaves_aborts_its_request(
    simulator: Simulator, client: aiohttp.ClientSession
) -> None:
    async with client.post("/v1/completions", json={**LONG, "stream": True}) as response:
        await response.content.readline()
        assert len(simulator.engine.batch) == 1
        response.close()
        await simulator.server.idle.wait()
    assert len(simulator.engine.batch) == 0
    page = await (await client.get("/metrics")).text()
    assert 'finished_reason="abort",model_name="simulated"} 1.0' in page


async def test_a_stall_stops_the_iterations_and_nothing_else(
    simulator: Simulator, client: aiohttp.ClientSession
) -> None:
    simulator.inject(Faults(stall=True))
    before = await metric(client, ITERATIONS)
    waiting = asyncio.create_task(complete(client))
    while await metric(client, "vllm:num_requests_waiting") != 1:
        assert not waiting.done()
    assert (await client.get("/health")).status == 200
    assert await metric(client, ITERATIONS) == before

    simulator.inject(Faults())

    assert (await waiting)["choices"][0]["finish_reason"] == "length"
    assert await metric(client, ITERATIONS) == before + PROMPT["max_tokens"]


async def test_a_fault_may_be_meant_for_some_prompts_only(
    simulator: Simulator, client: aiohttp.ClientSession, crashes: list[int]
) -> None:
    simulator.inject(Faults(error_percent=100, crash=True, on_prompt="poison"))
    assert "choices" in await complete(client)
    assert not crashes
    answer = await complete(client, prompt="some poison here")
    assert answer["error"]["code"] == 500
    assert crashes


async def test_an_error_rate_is_about_what_was_asked(
    simulator: Simulator, client: aiohttp.ClientSession
) -> None:
    simulator.inject(Faults(error_percent=25))
    answers = [await complete(client, max_tokens=1) for _ in range(200)]
    assert 30 <= sum("error" in answer for answer in answers) <= 70


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_may_break_off(
    simulator: Simulator, client: aiohttp.ClientSession, stream: bool
) -> None:
    simulator.inject(Faults(break_after_tokens=2))
    with pytest.raises(aiohttp.ClientError):
        async with client.post("/v1/completions", json={**LONG, "stream": stream}) as response:
            await response.read()


async def test_slow_takes_longer(simulator: Simulator, client: aiohttp.ClientSession) -> None:
    decode = "vllm:request_decode_time_seconds_sum"
    await complete(client)
    normal = await metric(client, decode)
    simulator.inject(Faults(slow_factor=2000))
    await complete(client)
    gaps = PROMPT["max_tokens"] - 1
    longer = 2000 * gaps * FAST.timing.step_seconds / FAST.speed  # however busy the machine is
    assert await metric(client, decode) - normal >= longer


async def test_the_control_port_changes_one_fault_and_keeps_the_others(
    simulator: Simulator,
) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{simulator.control_port}") as control:
        await control.patch("/faults", json={"slowFactor": 2})
        await control.patch("/faults", json={"stall": True})
        assert simulator.switchboard.now == Faults(slow_factor=2, stall=True)
        refused = await control.patch("/faults", json={"stal": True})
        assert refused.status == 400
        assert "stal" in await refused.text()
        shown = await (await control.get("/faults")).json()
        assert shown["slowFactor"] == 2
        await control.delete("/faults")
    assert simulator.switchboard.now == Faults()


@pytest.mark.timeout(60)
def test_the_process_serves_until_it_is_told_to_stop() -> None:
    command = [sys.executable, "-m", "batchfleet_worker", "simulate", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("simulating simulated on port")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def exit_status(flags: list[str]) -> int | str | None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    try:
        return run(parser.parse_args(flags))
    except SystemExit as refused:
        return refused.code


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        (["--fail-start", "CUDA out of memory"], 1, "CUDA out of memory"),
        (["--max-num-seq", "4"], 2, "unrecognized"),
        (["--max-num-seqs", "0"], 2, "below 1"),
        (["--max-num-seqs", "9999"], 2, "max_num_batched_tokens"),
        (["--control-port", "99999"], 2, "not a port"),
        (["--speed", "0"], 2, "above 0"),
    ],
)
def test_what_makes_no_sense_is_said_at_the_start(
    flags: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(flags) == status
    assert words in capsys.readouterr().err


async def test_a_terminated_engine_leaves_its_clients_hanging_as_vllm_does() -> None:
    async with (
        serve(FAST) as simulator,
        aiohttp.ClientSession(f"http://127.0.0.1:{simulator.port}") as client,
        client.post("/v1/completions", json={**LONG, "stream": True}) as response,
    ):
        await response.content.readline()
        await simulator.stop()
        assert not simulator.server.idle.is_set()
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection("127.0.0.1", simulator.port)
