"""The requests that real vLLM was recorded with, and that the simulator has to answer alike.

``record.py`` sends them to vLLM, ``tests/contract/test_engine_contract.py`` to the simulator.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

MODEL = "tiny"

HELLO = [{"role": "user", "content": "What is the capital of France?"}]
CHAT = {"model": MODEL, "messages": HELLO, "max_tokens": 6, "temperature": 0}
COMPLETION = {"model": MODEL, "prompt": "A batch is", "max_tokens": 6, "temperature": 0}
USAGE = {"include_usage": True}


@dataclass(frozen=True)
class Exchange:
    """One request; ``body`` is sent as JSON, ``raw`` as it stands."""

    name: str
    method: str
    path: str
    body: dict[str, Any] | None = None
    raw: bytes | None = None
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)

    def payload(self) -> bytes | None:
        return self.raw if self.body is None else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Answer:
    """What came back: headers in lower case, the body as text."""

    status: int
    headers: dict[str, str]
    text: str


def chat(name: str, **fields: Any) -> Exchange:
    return Exchange(name, "POST", "/v1/chat/completions", {**CHAT, **fields})


def completion(name: str, **fields: Any) -> Exchange:
    return Exchange(name, "POST", "/v1/completions", {**COMPLETION, **fields})


EXCHANGES: tuple[Exchange, ...] = (
    Exchange("health", "GET", "/health"),
    Exchange("ping", "GET", "/ping"),
    Exchange("ping-post", "POST", "/ping", raw=b""),
    Exchange("load", "GET", "/load"),
    Exchange("version", "GET", "/version"),
    Exchange("models", "GET", "/v1/models"),
    chat("chat"),
    chat("chat-two-choices", n=2, temperature=1, seed=7),
    chat("chat-stream", stream=True),
    chat("chat-stream-usage", stream=True, stream_options=USAGE),
    chat(
        "chat-stream-continuous-usage",
        stream=True,
        stream_options={"include_usage": True, "continuous_usage_stats": True},
    ),
    chat("chat-stream-two-choices", stream=True, n=2, temperature=1, seed=7, max_tokens=3),
    completion("completion"),
    completion("completion-two-prompts", prompt=["A batch is", "The queue is"]),
    completion("completion-token-prompt", prompt=[72, 73, 74, 75]),
    completion("completion-echo", echo=True),
    completion("completion-stream", stream=True),
    completion("completion-stream-usage", stream=True, stream_options=USAGE),
    Exchange("tokenize", "POST", "/tokenize", {"model": MODEL, "prompt": "A batch is"}),
    Exchange("tokenize-chat", "POST", "/tokenize", {"model": MODEL, "messages": HELLO}),
    # What goes wrong
    chat("unknown-model", model="other"),
    completion("unknown-model-completion", model="other"),
    chat("too-long", messages=[{"role": "user", "content": "word " * 4000}]),
    chat("too-many-tokens", max_tokens=100_000),
    completion("too-long-completion", prompt="word " * 4000),
    chat("negative-max-tokens", max_tokens=-1),
    chat("wrong-type", temperature="hot"),
    chat("stream-options-without-stream", stream_options=USAGE),
    chat("empty-messages", messages=[]),
    Exchange("missing-messages", "POST", "/v1/chat/completions", {"model": MODEL}),
    Exchange("missing-prompt", "POST", "/v1/completions", {"model": MODEL}),
    Exchange("malformed-json", "POST", "/v1/chat/completions", raw=b'{"model": '),
    Exchange("not-an-object", "POST", "/v1/chat/completions", raw=b"[]"),
    Exchange("empty-body", "POST", "/v1/chat/completions", raw=b""),
    Exchange(
        "not-json", "POST", "/v1/chat/completions", CHAT, headers=(("content-type", "text/plain"),)
    ),
    Exchange("wrong-method", "GET", "/v1/chat/completions"),
    Exchange("unknown-path", "GET", "/v1/nothing"),
    Exchange(
        "embeddings-of-a-language-model", "POST", "/v1/embeddings", {"model": MODEL, "input": "A"}
    ),
)

EMBEDDINGS: tuple[Exchange, ...] = (
    Exchange("models", "GET", "/v1/models"),
    Exchange("embedding", "POST", "/v1/embeddings", {"model": MODEL, "input": "A batch is"}),
    Exchange("embeddings", "POST", "/v1/embeddings", {"model": MODEL, "input": ["A", "batch"]}),
    Exchange(
        "embedding-base64",
        "POST",
        "/v1/embeddings",
        {"model": MODEL, "input": "A batch is", "encoding_format": "base64"},
    ),
    Exchange("unknown-model", "POST", "/v1/embeddings", {"model": "other", "input": "A"}),
    Exchange("missing-input", "POST", "/v1/embeddings", {"model": MODEL}),
    chat("chat-of-an-embedding-model"),
)
"""Asked of an engine that serves an embedding model."""


def send(host: str, port: int, exchange: Exchange) -> Answer:
    """Send one request on a connection of its own.  Raises OSError when nobody listens."""
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        connection.request(
            exchange.method, exchange.path, exchange.payload(), dict(exchange.headers)
        )
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read().decode())
    finally:
        connection.close()
