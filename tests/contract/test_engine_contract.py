"""The simulator against recordings of real vLLM: the same shapes, errors, framing and metrics.

Texts, counts and times are the simulator's own; keys, types, status codes, headers that a client
or a proxy acts on, and names, labels and bucket edges of metrics are vLLM's.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from batchfleet_worker.simulator import Settings, serve
from tests.contract.recordings.exchanges import (
    EMBEDDINGS,
    EXCHANGES,
    MODEL,
    Answer,
    Exchange,
    send,
)

RECORDINGS = Path(__file__).parent / "recordings"
HEADERS = ("content-type", "transfer-encoding", "allow")

GENERATE = Settings(port=0, served_model_names=(MODEL,), max_model_len=1024, speed=1000)
EMBED = Settings(port=0, served_model_names=(MODEL,), max_model_len=256, speed=1000, pooling=True)

READ_BY_OTHERS = {
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:request_success_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:num_preemptions_total",
    "vllm:time_to_first_token_seconds",
    "vllm:inter_token_latency_seconds",
    "vllm:e2e_request_latency_seconds",
    "vllm:request_queue_time_seconds",
    "vllm:iteration_tokens_total",
    "vllm:cache_config_info",
}
"""By our sidecar, our rules, and the routers and autoscalers that fleets use."""


def recorded(folder: str, name: str) -> Answer:
    return Answer(**json.loads((RECORDINGS / folder / f"{name}.json").read_text()))


async def ask(settings: Settings, exchange: Exchange) -> Answer:
    async with serve(settings) as simulator:
        return await asyncio.to_thread(send, "127.0.0.1", simulator.port, exchange)


def shape(value: Any) -> Any:
    """A JSON value with its leaves replaced by their types; equal neighbours in a list are one."""
    if isinstance(value, dict):
        return {key: shape(member) for key, member in value.items() if key != "simulator"}
    if isinstance(value, list):
        shapes = [shape(member) for member in value]
        return [s for i, s in enumerate(shapes) if not i or s != shapes[i - 1]]
    return type(value).__name__


def events(text: str) -> list[str]:
    """The data of each server-sent event.  Every event is one ``data:`` line and a blank one."""
    parts = text.split("\n\n")
    assert parts.pop() == ""
    assert all(part.startswith("data: ") and "\n" not in part for part in parts)
    return [part.removeprefix("data: ") for part in parts]


def body(answer: Answer) -> Any:
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        *chunks, done = events(answer.text)
        assert done == "[DONE]"
        return [json.loads(chunk) for chunk in chunks]
    return json.loads(answer.text) if answer.text else None


def check(answer: Answer, wanted: Answer) -> None:
    assert answer.status == wanted.status
    assert {h: answer.headers.get(h) for h in HEADERS} == {
        h: wanted.headers.get(h) for h in HEADERS
    }
    assert shape(body(answer)) == shape(body(wanted))
    if answer.status != 200 and "error" in body(wanted):
        for key in ("type", "param", "code"):
            assert body(answer)["error"][key] == body(wanted)["error"][key]


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
async def test_answers_have_the_shapes_of_vllm(exchange: Exchange) -> None:
    check(await ask(GENERATE, exchange), recorded("generate", exchange.name))


@pytest.mark.parametrize("exchange", EMBEDDINGS, ids=lambda exchange: exchange.name)
async def test_embeddings_have_the_shapes_of_vllm(exchange: Exchange) -> None:
    check(await ask(EMBED, exchange), recorded("embed", exchange.name))


Family = tuple[str, frozenset[str], tuple[str, ...], frozenset[str]]


def families(page: str) -> dict[str, Family]:
    """Type, label names, bucket edges and finish reasons of every metric of a page."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE))
    found: dict[str, list[dict[str, str]]] = {name: [] for name in kinds}
    for name, labels in re.findall(r"^([a-z_:]+)(?:\{(.*)\})? \S+$", page, re.MULTILINE):
        family = name if name in kinds else re.sub(r"_(bucket|sum|count)$", "", name)
        found[family].append(dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)))
    return {
        name: (
            kinds[name],
            frozenset(label for labels in samples for label in labels),
            tuple(labels["le"] for labels in samples if "le" in labels),
            frozenset(labels.get("finished_reason", "") for labels in samples),
        )
        for name, samples in found.items()
    }


async def test_metrics_have_the_names_labels_and_edges_of_vllm() -> None:
    page = (await ask(GENERATE, Exchange("metrics", "GET", "/metrics"))).text
    simulated = families(page)
    real = families((RECORDINGS / "generate" / "metrics.txt").read_text())

    assert simulated.keys() >= READ_BY_OTHERS
    kind, labels, *_ = simulated.pop("vllm:cache_config_info")
    assert kind == real["vllm:cache_config_info"][0]
    assert labels <= real["vllm:cache_config_info"][1]
    assert simulated == {name: real.get(name) for name in simulated}
