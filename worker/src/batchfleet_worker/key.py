"""What makes two requests the same, exactly.

The pipeline asks for a key before it looks for a flight to join.  The rule is a deny-list: method,
target, every header and the whole body are in the key, less the few things known to change nothing
in the answer.  A wrong answer is worse than a second engine call, so whatever is not understood
(odd numbers, duplicate names) only ever joins what is byte-identical to it.

- Order of the body's top-level fields does not matter; order at every depth below does (the order
  of a schema's properties is part of the prompt).  An absent field is not its default.
- ``Authorization`` and every other credential is in the key, so tenants never share.
- Only requests whose outcome is meant to be repeatable merge: ``temperature`` is 0, or there is a
  ``seed``, or the path computes instead of sampling.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from operator import itemgetter
from typing import Any

import orjson

from batchfleet_worker.exchange import Request
from batchfleet_worker.openai import COMPUTED

OPT_OUT_HEADER = b"x-batchfleet-merge"

INERT_FIELDS = ("user", "request_id")
"""Body fields that vLLM uses for its log and the answer's ``id`` at most."""

_INERT_HEADERS = frozenset(
    {
        # of this hop or connection, rebuilt by the relay
        b"host",
        b"content-length",
        # who asks and how it got here
        b"user-agent",
        b"date",
        b"referer",
        b"via",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
        # request ids and tracing
        b"x-request-id",
        b"x-correlation-id",
        b"traceparent",
        b"tracestate",
        b"b3",
        b"x-b3-traceid",
        b"x-b3-spanid",
        b"x-b3-parentspanid",
        b"x-b3-sampled",
        b"x-b3-flags",
        b"uber-trace-id",
        b"x-amzn-trace-id",
        b"x-cloud-trace-context",
    }
)

_INERT_PREFIX = b"x-stainless-"  # the OpenAI clients' own version, platform and retry counter

_NAME = itemgetter(0)

_STATEFUL_FIELDS = ("store", "kv_transfer_params", "previous_response_id")
"""Requests that leave something behind, or fetch it: each must happen."""


class NotMerged(StrEnum):
    """Why a request never shares an engine call; the label of ``requests_not_merged_total``."""

    NONDETERMINISTIC = "nondeterministic"  # sampled: neither temperature 0 nor a seed
    STATEFUL = "stateful"
    TOO_LARGE = "too_large"  # hashing would cost more than it is likely to save
    UNPARSABLE = "unparsable"  # not a JSON object that we read exactly
    OPTED_OUT = "opted_out"  # by the client's header
    DISABLED = "disabled"  # by the service's settings
    ROUTE = "route"  # this path never merges


class MergeKeys:
    """Computes keys under one process's secret, so that nobody outside can guess or collide them.

    ``max_body_bytes``: larger bodies are passed on without a key.
    """

    __slots__ = ("_max_body_bytes", "_secret")

    def __init__(self, secret: bytes, max_body_bytes: int) -> None:
        self._secret = secret
        self._max_body_bytes = max_body_bytes

    def __call__(self, request: Request) -> bytes | NotMerged:
        """32 bytes that equal requests have in common, or why this one stays alone."""
        body = request.body
        if len(body) > self._max_body_bytes:
            return NotMerged.TOO_LARGE
        headers = []
        for header in request.headers:
            name, value = header
            if name in _INERT_HEADERS or name.startswith(_INERT_PREFIX):
                continue
            if name == OPT_OUT_HEADER and value.strip().lower() == b"off":
                return NotMerged.OPTED_OUT
            headers.append(header)
        try:
            fields = orjson.loads(body)
        except orjson.JSONDecodeError:
            return NotMerged.UNPARSABLE
        if type(fields) is not dict:
            return NotMerged.UNPARSABLE
        if any(map(fields.get, _STATEFUL_FIELDS)):
            return NotMerged.STATEFUL
        if request.path not in COMPUTED and not _repeatable(fields):
            return NotMerged.NONDETERMINISTIC
        # By name only: the order of one header's several values has a meaning.
        headers.sort(key=_NAME)
        # repr, because it is exact (escapes, brackets): no two heads give the same text, and the
        # text has no line break, so that the body cannot pass for a part of the head.
        head = repr((request.method, request.target, headers)).encode()
        return sha256(b"%b%b\n%b" % (self._secret, head, _canonical(body, fields))).digest()


def _repeatable(fields: dict[str, Any]) -> bool:
    """Exact types: ``false`` is not 0, ``"0"`` is not 0, and vLLM reads a seed of -1 as no seed."""
    temperature = fields.get("temperature")
    if type(temperature) in (int, float) and temperature == 0:
        return True
    seed = fields.get("seed")
    return type(seed) is int and seed >= 0


def _canonical(body: bytes, fields: dict[str, Any]) -> bytes:
    """The body with its top-level fields in order; or as it stands, where that is not exact.

    Parsing forgets two things.  Of fields with one name only the last survives: then the quotes
    no longer add up (a quote written as \\u0022 would upset the sum, so it is not counted on).
    Integers past 64 bits become floats, which orjson writes with a positive exponent.
    """
    whole = orjson.dumps(fields)
    if body != whole and (
        body.count(b'"') != whole.count(b'"') or b"\\u0022" in body or b"e+" in whole
    ):
        return b"as is " + body
    for name in INERT_FIELDS:
        fields.pop(name, None)
    return orjson.dumps(dict(sorted(fields.items())))
