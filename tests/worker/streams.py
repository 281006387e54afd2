"""Streams as vLLM writes them, around texts that look like the stream's own syntax, and what must
hold of every one of them.  Used by the tests of events, of folding, and by ``fuzz_events``.

Whatever is checked is checked against the standard library's json, event by event.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from batchfleet_worker.events import (
    Aligner,
    body_with_id,
    id_of,
    own_id,
    usage_of,
    with_id,
    without_usage,
)
from batchfleet_worker.exchange import Refusal, ResponseHead, Result, Told
from batchfleet_worker.fold import Fold
from batchfleet_worker.memory import Budget
from batchfleet_worker.transcript import Unfolded
from tests.contract.recordings.exchanges import Answer

RECORDINGS = Path(__file__).parents[1] / "contract" / "recordings" / "generate"

OLD = b"chatcmpl-b6e65c6fba9358ba"
TOKEN = b"the second client"
NEW = own_id(OLD, TOKEN)
TOLD = Told(Result.JOINED, 0.0, 0.0)
EVENT_STREAM = ResponseHead(
    200, ((b"server", b"uvicorn"), (b"content-type", b"text/event-stream; charset=utf-8"))
)

LOOKALIKES = (
    *(
        '"',
        "\\",
        "\\\\",
        '\\"',
        "\n",
        "\n\n",
        "\r\n\r\n",
        "{",
        "}",
        "[]",
        ":",
        ",",
        "é",
        "😀",
        "\0",
    ),
    *('"usage"', 'usage":{', '"usage":{"prompt_tokens":1,"completion_tokens":2}', '"usage":null'),
    *('"choices":[]', '"choices":[],"usage":{}', "data: ", "data: [DONE]\n\n", "[DONE]"),
    *('{"id":"', f'{{"id":"{OLD.decode()}"', f'data: {{"id":"{OLD.decode()}"', OLD.decode()),
    *('"id":"', "\\u0022usage\\u0022", "usage", "id", '"finish_reason":"stop"', '"error"'),
)


def recorded(name: str) -> Answer:
    return Answer(**json.loads((RECORDINGS / f"{name}.json").read_text()))


@dataclass(frozen=True)
class Spoken:
    """One answer, to be written as a stream or whole."""

    texts: Sequence[str]
    chat: bool = True
    usage: bool = True
    continuous: bool = False  # every event carries the count so far
    tool_calls: bool = False  # events whose inside carries the stream's own id
    keep_alive: bool = False  # comments between the events
    crlf: bool = False
    spaced: bool = False  # json.dumps' own separators, and every non-ASCII escaped
    model: str = "tiny"
    counts: tuple[int, int] = (13, 6)

    def dump(self, value: object) -> bytes:
        return json.dumps(value).encode() if self.spaced else orjson.dumps(value)

    def spent(self) -> dict[str, int]:
        prompt, completion = self.counts
        return {
            "prompt_tokens": prompt,
            "total_tokens": prompt + completion,
            "completion_tokens": completion,
        }

    def _chunk(self, choices: list[Any], **more: Any) -> bytes:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        chunk = {"id": OLD.decode(), "object": kind, "created": 1795304396, "model": self.model}
        return self._framed(self.dump({**chunk, "choices": choices, **more}))

    def _framed(self, data: bytes) -> bytes:
        if self.spaced:  # the one thing vLLM never varies is the beginning
            data = data.replace(b'{"id": "', b'{"id":"', 1)
        return b"data: " + data + (b"\r\n\r\n" if self.crlf else b"\n\n")

    def stream(self) -> bytes:
        out = []
        counted: dict[str, Any] = {"usage": self.spent()} if self.continuous else {}
        if self.chat:
            opening = {"role": "assistant", "content": ""}
            choice = {"index": 0, "delta": opening, "logprobs": None, "finish_reason": None}
            out.append(self._chunk([choice], **counted, prompt_token_ids=None, prompt_text=None))
        if self.tool_calls:
            call = {"id": OLD.decode(), "type": "function", "function": {"arguments": self.texts}}
            delta = {"tool_calls": [call]}
            out.append(
                self._chunk([{"index": 0, "delta": delta, "finish_reason": None}], **counted)
            )
        for number, text in enumerate(self.texts):
            last = number == len(self.texts) - 1
            said: dict[str, Any] = {"delta": {"content": text}} if self.chat else {"text": text}
            end = {"finish_reason": "length", "stop_reason": None} if last else {}
            choice = {"index": 0, **said, "logprobs": None, "finish_reason": None, **end}
            out.append(self._chunk([{**choice, "token_ids": None}], **counted))
            if self.keep_alive:
                out.append(b": keep-alive\r\n\r\n" if self.crlf else b": keep-alive\n\n")
        if self.usage:
            out.append(self._chunk([], usage=self.spent(), system_fingerprint="vllm-0.32.0"))
        out.append(b"data: [DONE]\r\n\r\n" if self.crlf else b"data: [DONE]\n\n")
        return b"".join(out)

    def whole(self, own: bytes = OLD) -> bytes:
        """As vLLM answers without streaming; fields as in the recordings."""
        model = json.loads(recorded("chat" if self.chat else "completion").text)
        choice = model["choices"][0]
        text = "".join(self.texts)
        if self.chat:
            choice["message"]["content"] = text
        else:
            choice["text"] = text
        model.update(id=own.decode(), model=self.model, system_fingerprint="vllm-0.32.0")
        model["usage"].update(self.spent())
        return orjson.dumps(model)


@dataclass
class Heard:
    """A sink that remembers."""

    head: ResponseHead | None = None
    body: bytes = b""
    ended: bool = False
    refusal: Refusal | None = None
    unread: int = 0
    calls: list[str] = field(default_factory=list)

    def start(self, head: ResponseHead, told: Told) -> None:
        assert self.head is None
        assert self.refusal is None
        self.head = head

    def data(self, chunk: bytes) -> None:
        assert self.head is not None
        assert not self.ended
        self.body += chunk

    def end(self) -> None:
        assert self.head is not None
        assert not self.ended
        self.ended = True

    def refuse(self, refusal: Refusal) -> None:
        assert not self.ended
        self.refusal = refusal

    def backlog(self) -> int:
        return self.unread


def parsed(stream: bytes) -> list[Any]:
    """Every event's data, as the standard library reads it; comments are left out."""
    found: list[Any] = []
    for event in stream.replace(b"\r\n", b"\n").split(b"\n\n"):
        if event.startswith(b"data: "):
            data = event[6:]
            found.append("[DONE]" if data == b"[DONE]" else json.loads(data))
    return found


def cut(stream: bytes, lengths: Iterable[int]) -> list[bytes]:
    """The stream in pieces of these lengths, the rest as the last one."""
    pieces = []
    start = 0
    for length in lengths:
        pieces.append(stream[start : start + length])
        start += length
    return [piece for piece in (*pieces, stream[start:]) if piece]


def aligned(pieces: Iterable[bytes], limit_bytes: int = 1 << 20) -> list[bytes]:
    aligner = Aligner(limit_bytes)
    out = [aligner.feed(piece) for piece in pieces]
    return [piece for piece in (*out, aligner.end()) if piece]


def folded(pieces: Iterable[bytes], budget: Budget | None = None) -> tuple[Heard, Unfolded | None]:
    budget = budget or Budget(1 << 20)
    heard = Heard()
    gave_up: list[Unfolded] = []
    fold = Fold(heard, budget, TOKEN, gave_up.append)
    fold.start(EVENT_STREAM, TOLD)
    for piece in pieces:
        fold.data(piece)
    fold.end()
    assert budget.used_bytes == 0
    assert len(gave_up) + heard.ended == 1
    return heard, gave_up[0] if gave_up else None


def check(spoken: Spoken, lengths: Sequence[int]) -> None:
    """All that must hold of one answer, however its stream is cut."""
    stream = spoken.stream()
    events = parsed(stream)
    pieces = aligned(cut(stream, lengths))
    assert b"".join(pieces) == stream
    assert all(piece.endswith((b"\n\n", b"\r\n\r\n")) for piece in pieces)

    assert id_of(pieces[0]) == OLD
    renamed = b"".join(with_id(piece, OLD, NEW) for piece in pieces)
    assert len(renamed) == len(stream)
    assert parsed(renamed) == [
        {**event, "id": NEW.decode()} if type(event) is dict else event for event in events
    ]
    bare = b"".join(without_usage(piece) for piece in pieces)
    assert parsed(bare) == [
        event for event in events if type(event) is not dict or event["choices"]
    ]
    assert bare == without_usage(stream)
    assert (bare == stream) is not spoken.usage
    counted = [usage for usage in map(usage_of, pieces) if usage is not None]
    assert set(counted) <= {spoken.counts}
    assert bool(counted) is (spoken.usage or spoken.continuous)

    heard, why = folded(pieces)
    if spoken.tool_calls:
        assert why is Unfolded.NOT_PLAIN
    elif not (spoken.usage or spoken.continuous):
        assert why is Unfolded.INCOMPLETE
    else:
        assert why is None
        expected = json.loads(spoken.whole(NEW))
        if not spoken.usage:
            expected["system_fingerprint"] = None
        assert json.loads(heard.body) == expected

    whole = spoken.whole()
    assert id_of(whole) == OLD
    assert body_with_id(whole, OLD, NEW) == spoken.whole(NEW)
    assert usage_of(whole) == spoken.counts


def check_noise(data: bytes, lengths: Sequence[int]) -> None:
    """Of bytes that are no stream at all: nothing raises, nothing is lost or made up."""
    for limit in (1, 16, 1 << 20):
        assert b"".join(aligned(cut(data, lengths), limit)) == data
    usage_of(data)
    found = id_of(data)
    if found is not None:
        assert len(own_id(found, TOKEN)) == len(found)
        assert len(with_id(data, found, own_id(found, TOKEN))) == len(data)
        assert len(body_with_id(data, found, own_id(found, TOKEN))) == len(data)
    bare = without_usage(data)
    assert len(bare) <= len(data)
    assert without_usage(bare) == bare
    folded(cut(data, lengths))
