"""What a stream of events has said so far, and the whole answer that it amounts to.

``fold`` feeds it event by event.  Whatever is not plain text is not guessed at: ``NotWholeError``
says why.  The shape is vLLM 0.32's (its recordings are in tests/contract/recordings): what a stream
leaves out is null there, and unknown fields that every event repeats stand in the answer as well.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import orjson

from batchfleet_worker.events import DONE, data_of

_CHAT = "chat.completion.chunk"
_COMPLETION = "text_completion"
_ENDINGS = frozenset({"stop", "length"})
_EVENT_FIELDS = frozenset(
    {
        *("id", "object", "created", "model", "choices", "usage", "system_fingerprint"),
        *("service_tier", "metrics", "prompt_token_ids", "prompt_text"),
    }
)
_CHOICE_FIELDS = frozenset({"index", "delta", "text", "finish_reason", "stop_reason"})
_STRING = re.compile(rb'"(?:delta":\s?\{"content|text)":\s?("(?:[^"\\]|\\.)*")')
_TOLD_LAST = ("usage", "metrics", "system_fingerprint")  # the last one counts
_DELTA_FIELDS = frozenset({"role", "content"})


class Unfolded(StrEnum):
    """Why a stream is not the whole answer."""

    NOT_PLAIN = "not_plain"  # reasoning, tool calls, several choices, logprobs, …
    ENGINE_ERROR = "engine_error"  # an error inside the stream
    INCOMPLETE = "incomplete"  # it stopped before its end, or has no token count
    UNREADABLE = "unreadable"  # not the events that vLLM writes
    OVERLOADED = "overloaded"  # the byte budget is used up


class NotWholeError(Exception):
    def __init__(self, why: Unfolded) -> None:
        super().__init__(why)
        self.why = why


class Transcript:
    """One stream of /v1/chat/completions or /v1/completions; ``text`` is UTF-8."""

    __slots__ = (
        "_extra",
        "_fingerprint",
        "_finish",
        "_first",
        "_may_learn",
        "_metrics",
        "_over",
        "_prefix",
        "_role",
        "_suffix",
        "_usage",
        "text",
    )

    def __init__(self) -> None:
        self.text = bytearray()
        self._first: dict[str, Any] | None = None
        self._extra: dict[str, Any] = {}
        self._role = "assistant"
        self._finish: dict[str, Any] | None = None
        self._usage: dict[str, Any] | None = None
        self._fingerprint: object = None
        self._metrics: object = None
        self._over = False
        # How an event begins and ends that says nothing but a text, as the first such one did.
        self._prefix = b""
        self._suffix = b""
        self._may_learn = 2  # times

    @property
    def id(self) -> str:
        """Raises NotWholeError before the first event."""
        if self._first is None:
            raise NotWholeError(Unfolded.INCOMPLETE)
        return str(self._first["id"])

    def add(self, event: bytes) -> None:
        """Raises NotWholeError; of no use after that."""
        if self._prefix and self._repeats(event):
            return
        data = data_of(event)
        if not data:
            return  # a comment that keeps the connection alive
        if self._over:
            raise NotWholeError(Unfolded.UNREADABLE)
        if data == DONE:
            self._over = True
            return
        try:
            fields = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise NotWholeError(Unfolded.UNREADABLE) from None
        if type(fields) is not dict:
            raise NotWholeError(Unfolded.UNREADABLE)
        if fields.get("error"):
            raise NotWholeError(Unfolded.ENGINE_ERROR)
        self._envelope(fields)
        choices = fields.get("choices")
        if type(choices) is not list or len(choices) > 1:
            raise NotWholeError(Unfolded.NOT_PLAIN)
        if choices:
            self._choice(choices[0])
            if self._may_learn and self._finish is None and self._usage is None:
                self._learn(event, fields)

    def whole(self, own_id: str) -> bytes:
        """The JSON body, under ``own_id``.  Raises NotWholeError where anything is missing."""
        first, finish, usage = self._first, self._finish, self._usage
        if first is None or finish is None or type(usage) is not dict or not self._over:
            raise NotWholeError(Unfolded.INCOMPLETE)
        chat = first["object"] == _CHAT
        text = self.text.decode()
        end = {
            "logprobs": None,
            "finish_reason": finish["finish_reason"],
            "stop_reason": finish.get("stop_reason"),
            "token_ids": None,
        }
        if chat:
            choice = {"index": 0, "message": self._message(text), **end, "routed_experts": None}
        else:
            unset = {"prompt_logprobs": None, "prompt_token_ids": None, "routed_experts": None}
            choice = {"index": 0, "text": text, **end, **unset}
        prompt = {"prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None}
        return orjson.dumps(
            {
                "id": own_id,
                "object": "chat.completion" if chat else _COMPLETION,
                "created": first.get("created"),
                "model": first.get("model"),
                "choices": [choice],
                "service_tier": first.get("service_tier"),
                "system_fingerprint": self._fingerprint,
                "usage": _spent(usage),
                **(prompt if chat else {}),
                "kv_transfer_params": None,
                "ec_transfer_params": None,
                "metrics": self._metrics,
                **self._extra,
            }
        )

    def _repeats(self, event: bytes) -> bool:
        """Takes an event that differs from an earlier one by its text alone: a JSON string between
        the same bytes.  Ten times as fast as to look at every field again."""
        if self._over or self._finish is not None:
            return False
        prefix, suffix = self._prefix, self._suffix
        if not (event.startswith(prefix) and event.endswith(suffix)):
            return False
        try:
            new = orjson.loads(event[len(prefix) : -len(suffix)])
        except orjson.JSONDecodeError:
            return False
        if type(new) is not str:
            return False
        self.text += new.encode()
        return True

    def _learn(self, event: bytes, fields: dict[str, Any]) -> None:
        """Keeps what stands around the text, if putting another text there changes just that."""
        found = _STRING.search(event)
        if found is None or not event.startswith(b"data: ") or b"\n" in event:
            return
        self._may_learn -= 1
        start, end = found.span(1)
        try:
            other = orjson.loads(event[6:start] + b'"\\u0000"' + event[end:])
        except orjson.JSONDecodeError:
            return
        said = other["choices"][0] if other.get("choices") else {}
        said = said.get("delta", said)
        name = "content" if "content" in said else "text"
        before = fields["choices"][0]
        before = before.get("delta", before)
        if said.get(name) != "\0" or type(before.get(name)) is not str:
            return
        said[name] = before[name]
        if other == fields and not before.get("role") and fields.keys().isdisjoint(_TOLD_LAST):
            self._prefix, self._suffix = event[:start], event[end:]
            self._may_learn = 0

    def _envelope(self, fields: dict[str, Any]) -> None:
        """Everything around the choices."""
        first = self._first
        extra = self._extra
        if not fields.keys() <= _EVENT_FIELDS:
            extra = {name: fields[name] for name in fields.keys() - _EVENT_FIELDS}
        elif extra:
            extra = {}
        if first is None:
            if fields.get("object") not in (_CHAT, _COMPLETION) or "id" not in fields:
                raise NotWholeError(Unfolded.UNREADABLE)
            self._first = fields
            self._extra = extra
        elif fields.get("id") != first["id"] or extra != self._extra:
            raise NotWholeError(Unfolded.UNREADABLE)
        if fields.get("prompt_token_ids") is not None or fields.get("prompt_text") is not None:
            raise NotWholeError(Unfolded.NOT_PLAIN)
        usage = fields.get("usage")
        if usage is not None:
            self._usage = usage
        self._metrics = fields.get("metrics", self._metrics)
        self._fingerprint = fields.get("system_fingerprint", self._fingerprint)

    def _choice(self, choice: Any) -> None:
        if type(choice) is not dict or self._finish is not None:
            raise NotWholeError(Unfolded.UNREADABLE)
        if choice.get("index") != 0 or any(
            choice[name] is not None for name in choice.keys() - _CHOICE_FIELDS
        ):
            raise NotWholeError(Unfolded.NOT_PLAIN)
        new = self._said(choice)
        if type(new) is str:
            self.text += new.encode()
        elif new is not None:
            raise NotWholeError(Unfolded.NOT_PLAIN)
        finish = choice.get("finish_reason")
        if finish is not None:
            if type(finish) is not str or finish not in _ENDINGS:
                raise NotWholeError(Unfolded.NOT_PLAIN)
            self._finish = choice

    def _said(self, choice: dict[str, Any]) -> object:
        if "delta" not in choice:
            return choice.get("text")
        delta = choice["delta"]
        if type(delta) is not dict or any(
            delta[name] not in (None, []) for name in delta.keys() - _DELTA_FIELDS
        ):
            raise NotWholeError(Unfolded.NOT_PLAIN)
        self._role = delta.get("role") or self._role
        return delta.get("content")

    def _message(self, text: str) -> dict[str, Any]:
        return {
            "role": self._role,
            "content": text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": None,
        }


def _spent(usage: dict[str, Any]) -> dict[str, Any]:
    """The token count with the details that a stream leaves out when they are null."""
    details = {"prompt_tokens_details": None, "completion_tokens_details": None}
    counts = {name: value for name, value in usage.items() if name not in details}
    return counts | details | {name: usage[name] for name in details if name in usage}
