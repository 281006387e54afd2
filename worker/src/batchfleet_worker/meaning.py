"""What a request's body says, read once, for all who ask: keys, order, limits, accounts.

First thing in the pipeline.  Fills in the slots of ``Request``; a body that is not a JSON object,
or of which only the beginning has arrived, leaves them as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from sys import intern
from typing import Any

import orjson

from batchfleet_worker.exchange import Request

LOWEST_PRIORITY = -1000


class EnginePriority(StrEnum):
    """What becomes of a body's ``priority`` (vLLM's: lower first, an error without its policy)."""

    STRIP = "Strip"  # the engine gets none
    NEGATE = "Negate"  # the engine gets the effective one, in its own sense


def read(request: Request) -> None:
    """Never raises: what cannot be read is not understood, and passed on."""
    request.priority = request.head.priority
    body = request.body
    if request.rest is not None or not body:
        return
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Never merged, but weighed and clamped like any other: the engine may well read it.
        fields, _ = _read_as_engine(body)
        if fields is not None:
            _note(request, fields)
        return
    if type(fields) is not dict:
        return
    request.fields = fields
    _note(request, fields)


def _note(request: Request, fields: dict[str, Any]) -> None:
    if fields.get("stream") is True:
        request.stream = True
    model = fields.get("model")
    if type(model) is str and (request.fields is not None or model.isprintable()):
        request.model = intern(model)  # a few names, many requests
    if "n" in fields or "best_of" in fields or "messages" not in fields:
        request.weight = _prompts(fields) * max(_number(fields, "n"), _number(fields, "best_of"))
    if "priority" in fields:
        request.names_priority = True
        asked = fields["priority"]
        if request.priority == 0 and type(asked) is int:
            ceiling = request.head.caller.max_priority
            request.priority = max(LOWEST_PRIORITY, min(-asked, ceiling))


def for_engine(request: Request, policy: EnginePriority, priority: int) -> bytes:
    """The request's body with the ``priority`` that the engine may see; the same object where that
    is no change.

    Without this a client could go to the head of the engine's queue whatever its ceiling is.
    """
    body = request.body
    negate = policy is EnginePriority.NEGATE
    if not (request.names_priority or (negate and priority)):
        return body
    fields, write = _read_as_engine(body)
    if fields is None:
        return body
    changed = {name: value for name, value in fields.items() if name != "priority"}
    if negate and (priority or "priority" in fields):
        changed["priority"] = -priority
    return body if changed == fields else write(changed)


def _read_as_engine(
    body: bytes,
) -> tuple[dict[str, Any] | None, Callable[[dict[str, Any]], bytes]]:
    """Also what orjson refuses: NaN, lone surrogates, deep nesting, UTF-16 and -32, a mark of byte
    order."""
    write = _write
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        write = _write_as_engine
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError):
            return None, write
    return (fields if type(fields) is dict else None), write


def _write(fields: dict[str, Any]) -> bytes:
    return orjson.dumps(fields)


def _write_as_engine(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


def _number(fields: dict[str, Any], name: str) -> int:
    value = fields.get(name)
    return value if type(value) is int and value > 1 else 1


def _prompts(fields: dict[str, Any]) -> int:
    """How many the engine works on at once; a list of numbers is one prompt of tokens."""
    for name in ("prompt", "input", "documents", "text_2"):
        value = fields.get(name)
        if type(value) is list and value and type(value[0]) is not int:
            return len(value)
    return 1
