"""vLLM's answer bodies, whole and in chunks, with a stamp that says whose answer it is.

Every JSON object carries ``simulator``: the hashes of the body and of the headers that this call
came in with, and a nonce of the call.  Two clients whose answers have the same nonce shared one
call; a client whose own hash is not the answer's got somebody else's.

A proxy that merges may rightly share a call between bodies and headers that differ in what changes
no answer.  Two coarser hashes still tell whose the answer is: ``asked``, of the body less
``FORM``, and ``caller``, of the credentials.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from . import text
from .text import Reply

FINGERPRINT = "batchfleet-simulator"
UNTOLD = frozenset(
    b"host connection keep-alive te transfer-encoding content-length x-request-id".split()
)
"""Headers that every hop writes anew: no part of the hash."""
FORM = ("stream", "stream_options", "user", "request_id", "priority")
"""Body fields that change how an answer comes, or when, and nothing of what it says."""
UNTOLD_DETAILS = {"prompt_tokens_details": None, "completion_tokens_details": None}


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is the same in every part of one call's answer."""

    id: str
    created: int  # seconds since 1970
    model: str
    body_hash: str
    headers_hash: str
    call: str
    asked: str
    caller: str

    def as_json(self) -> dict[str, str]:
        return {
            "body": self.body_hash,
            "headers": self.headers_hash,
            "call": self.call,
            "asked": self.asked,
            "caller": self.caller,
        }

    def headers(self) -> dict[str, str]:
        return {
            "x-simulator-body": self.body_hash,
            "x-simulator-headers": self.headers_hash,
            "x-simulator-call": self.call,
            "x-simulator-asked": self.asked,
            "x-simulator-caller": self.caller,
        }


def body_hash(body: bytes) -> str:
    """16 hex digits of a request's body; what a test compares an answer with."""
    return hashlib.sha256(body).hexdigest()[:16]


def headers_hash(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """16 hex digits of a request's headers, less those that belong to a hop; order is ignored."""
    lowered = ((name.lower(), value) for name, value in headers)
    told = sorted(pair for pair in lowered if pair[0] not in UNTOLD)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def asked_hash(body: bytes) -> str:
    """16 hex digits of what a JSON body asks, in whatever order and form."""
    fields = orjson.loads(body)
    for name in FORM:
        fields.pop(name, None)
    plain = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(plain).hexdigest()[:16]


def caller_hash(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """16 hex digits of the credentials that a request came with."""
    told = [value for name, value in headers if name.lower() == b"authorization"]
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
    }


def _whole(stamp: Stamp, kind: str, choices: list[Any], spent: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": stamp.id,
        "object": kind,
        "created": stamp.created,
        "model": stamp.model,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": {**spent, **UNTOLD_DETAILS},
        "prompt_token_ids": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
        "simulator": stamp.as_json(),
    }


def _end(reply: Reply) -> dict[str, Any]:
    return {
        "logprobs": None,
        "finish_reason": reply.finish_reason,
        "stop_reason": reply.stop_reason,
        "token_ids": None,
    }


class ChatShape:
    """/v1/chat/completions."""

    prefix = "chatcmpl"
    chunk_kind = "chat.completion.chunk"

    def whole(
        self, stamp: Stamp, texts: Sequence[tuple[str, Reply]], spent: dict[str, Any]
    ) -> bytes:
        message = {"role": "assistant", "refusal": None, "annotations": None, "audio": None}
        unused = {"function_call": None, "reasoning": None}
        choices = [
            {
                "index": index,
                "message": {**message, "content": said, **unused},
                **_end(reply),
                "routed_experts": None,
            }
            for index, (said, reply) in enumerate(texts)
        ]
        body = _whole(stamp, "chat.completion", choices, spent)
        return orjson.dumps({**body, "prompt_logprobs": None, "prompt_text": None})

    def opening(self, index: int) -> dict[str, Any] | None:
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def piece(self, index: int, new: str, reply: Reply | None) -> dict[str, Any]:
        """One chunk's choice; ``reply`` with the last one."""
        choice = {"index": index, "delta": {"content": new}, "logprobs": None}
        if reply is None:
            return {**choice, "finish_reason": None, "token_ids": None}
        return {**choice, **_end(reply)}


class CompletionShape:
    """/v1/completions."""

    prefix = "cmpl"
    chunk_kind = "text_completion"

    def whole(
        self, stamp: Stamp, texts: Sequence[tuple[str, Reply]], spent: dict[str, Any]
    ) -> bytes:
        unused = {"prompt_logprobs": None, "prompt_token_ids": None, "routed_experts": None}
        choices = [
            {"index": index, "text": said, **_end(reply), **unused}
            for index, (said, reply) in enumerate(texts)
        ]
        body = _whole(stamp, self.chunk_kind, choices, spent)
        del body["prompt_token_ids"]  # here it belongs to the choices
        return orjson.dumps(body)

    def opening(self, index: int) -> dict[str, Any] | None:
        return None

    def piece(self, index: int, new: str, reply: Reply | None) -> dict[str, Any]:
        """One chunk's choice; ``reply`` with the last one."""
        choice = {"index": index, "text": new, "prompt_token_ids": None}
        if reply is None:
            unset = {"logprobs": None, "finish_reason": None, "stop_reason": None}
            return {**choice, **unset, "token_ids": None}
        return {**choice, **_end(reply)}


Shape = ChatShape | CompletionShape


def event(
    stamp: Stamp, shape: Shape, choices: list[dict[str, Any]], extra: Mapping[str, Any]
) -> bytes:
    """One server-sent event of a stream."""
    chunk = {
        "id": stamp.id,
        "object": shape.chunk_kind,
        "created": stamp.created,
        "model": stamp.model,
        "choices": choices,
        **extra,
        "simulator": stamp.as_json(),
    }
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def models(names: Sequence[str], root: str, max_model_len: int, created: int) -> bytes:
    permission = {
        "id": "modelperm-simulated",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    cards = [
        {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "vllm",
            "root": root,
            "parent": None,
            "max_model_len": max_model_len,
            "permission": [permission],
        }
        for name in names
    ]
    return orjson.dumps({"object": "list", "data": cards})


def tokens(prompt: str, max_model_len: int, with_strings: bool) -> bytes:
    """The answer of /tokenize."""
    pieces = text.tokens(prompt)
    return orjson.dumps(
        {
            "count": len(pieces),
            "max_model_len": max_model_len,
            "tokens": [text.token_id(piece) for piece in pieces],
            "token_strs": pieces if with_strings else None,
        }
    )


def embeddings(
    stamp: Stamp, vectors: Sequence[Sequence[float]], prompt_tokens: int, as_base64: bool
) -> bytes:
    def rendered(vector: Sequence[float]) -> object:
        if not as_base64:
            return vector
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()

    data = [
        {"index": index, "object": "embedding", "embedding": rendered(vector)}
        for index, vector in enumerate(vectors)
    ]
    spent = {**usage(prompt_tokens, 0), **UNTOLD_DETAILS}
    return orjson.dumps(
        {
            "id": stamp.id,
            "object": "list",
            "created": stamp.created,
            "model": stamp.model,
            "data": data,
            "usage": spent,
            "simulator": stamp.as_json(),
        }
    )
