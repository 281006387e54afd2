"""What makes two requests the same, exactly.

The pipeline asks for a key before it looks for a flight to join.  The rule is a deny-list: method,
target, tenant, every header and the whole body are in the key, less the few things known to change
nothing in the answer.  A wrong answer is worse than a second engine call, so whatever is not
understood (odd numbers, duplicate names) only ever joins what is byte-identical to it.

- Order of the body's top-level fields does not matter; order at every depth below does (the order
  of a schema's properties is part of the prompt).  An absent field is not its default.
- ``stream`` and ``stream_options`` are not in the key where they say nothing but how the answer is
  to be sent: ``flights`` and ``crossover`` look after that.
- ``Authorization`` and every other credential is in the key, so tenants never share.
- Only requests whose outcome is meant to be repeatable merge: ``temperature`` is 0, or there is a
  ``seed``, or the path computes instead of sampling.

What a head adds is worked out once per distinct head, and what the order of a body's fields comes
to once per distinct order: what is left per request is one dump and one hash.
"""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final

import orjson

from batchfleet_worker.cacheable import Wish, wish_of
from batchfleet_worker.crossover import asks_at_most_usage
from batchfleet_worker.exchange import Head, Request
from batchfleet_worker.http1 import TRACE_HEADERS
from batchfleet_worker.openai import COMPUTED

INERT_FIELDS: Final = ("user", "request_id", "priority")
"""Body fields that vLLM uses for its log, its order and the answer's ``id`` at most."""

_FORM_FIELDS: Final = ("stream", "stream_options")
"""How the answer is sent, not what it says."""

_INERT_HEADERS = (
    frozenset(
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
            b"x-request-id",
            # what ``recall`` obeys, and the engine does not know
            b"cache-control",
        }
    )
    | TRACE_HEADERS
)

_INERT_PREFIX = b"x-stainless-"  # the OpenAI clients' own version, platform and retry counter

_NAME = itemgetter(0)

_STATEFUL_FIELDS: Final = ("store", "kv_transfer_params", "previous_response_id")
"""Requests that leave something behind, or fetch it: each must happen."""

_NUMBERS = (int, float)

_ORDERS = 1024
"""Distinct orders of fields that are remembered; a client that makes up more pays for its own."""


class NotMerged(StrEnum):
    """Why a request never shares an engine call; the label of ``requests_not_merged_total``."""

    NONDETERMINISTIC = "nondeterministic"  # sampled: neither temperature 0 nor a seed
    STATEFUL = "stateful"
    TOO_LARGE = "too_large"  # hashing would cost more than it is likely to save
    UNPARSABLE = "unparsable"  # not a JSON object that we read exactly
    OPTED_OUT = "opted_out"  # by the client's header
    DISABLED = "disabled"  # by the service's settings
    ROUTE = "route"  # this path never merges


class HeadPart:
    """What a head adds to the keys of its requests."""

    __slots__ = ("computed", "digest", "wish")

    def __init__(self, digest: bytes, computed: bool, wish: Wish) -> None:
        self.digest = digest
        self.computed = computed  # the path computes: equal requests merge whatever they say
        self.wish = wish  # about earlier answers


class _Order:
    """What one order of fields comes to."""

    __slots__ = ("has_form", "is_agreed", "may_be_stateful", "names")

    def __init__(
        self, names: tuple[str, ...], is_agreed: bool, has_form: bool, may_be_stateful: bool
    ) -> None:
        self.names = names  # those that count, in the order agreed on for them
        self.is_agreed = is_agreed  # it is that order, and all of them count
        self.has_form = has_form
        self.may_be_stateful = may_be_stateful


class MergeKeys:
    """Computes keys under one process's secret, so that nobody outside can guess or collide them.

    ``max_body_bytes``: larger bodies are passed on without a key.
    """

    __slots__ = ("_agreed", "_max_body_bytes", "_orders", "_secret")

    def __init__(self, secret: bytes, max_body_bytes: int) -> None:
        self._secret = secret
        self._max_body_bytes = max_body_bytes
        self._orders: dict[tuple[str, ...], _Order] = {}
        self._agreed: dict[frozenset[str], tuple[str, ...]] = {}  # the first order that came

    def __call__(self, request: Request) -> bytes | NotMerged:
        """32 bytes that equal requests have in common, or why this one stays alone.

        ``meaning.read`` has to be called before.
        """
        head = request.head
        part: HeadPart | None = head.merge_part
        if part is None:
            part = head.merge_part = self._head_part(head)
        if head.opted_out:
            return NotMerged.OPTED_OUT
        body = request.body
        if len(body) > self._max_body_bytes or request.rest is not None:
            return NotMerged.TOO_LARGE
        fields = request.fields
        if fields is None:
            return NotMerged.UNPARSABLE
        names = tuple(fields)
        order = self._orders.get(names)
        if order is None:
            order = self._order(names)
        if order.may_be_stateful and any(map(fields.get, _STATEFUL_FIELDS)):
            return NotMerged.STATEFUL
        temperature = fields.get("temperature")
        # Exact types: ``false`` is not 0, ``"0"`` is not 0.
        if not (temperature == 0 and type(temperature) in _NUMBERS) and not (
            part.computed or _is_seed(fields.get("seed"))
        ):
            return NotMerged.NONDETERMINISTIC
        # Either way the text is unambiguous: a JSON object, perhaps with a list behind it, or none.
        said = _compact(body, fields)
        if said is None:
            return sha256(b"%bas is %b" % (part.digest, body)).digest()
        if not order.is_agreed:
            said = orjson.dumps({name: fields[name] for name in order.names})
        if order.has_form and not _plain_form(fields):
            said += orjson.dumps(list(map(fields.get, _FORM_FIELDS)))
        return sha256(part.digest + said).digest()

    def _head_part(self, head: Head) -> HeadPart:
        kept = [
            header
            for header in head.headers
            if not (header[0] in _INERT_HEADERS or header[0].startswith(_INERT_PREFIX))
        ]
        # By name only: the order of one header's several values has a meaning.
        kept.sort(key=_NAME)
        # repr, because it is exact (escapes, brackets): no two heads give the same text.
        text = repr((head.method, head.target, head.caller.tenant, kept)).encode()
        digest = sha256(self._secret + text).digest()
        return HeadPart(digest, head.path in COMPUTED, wish_of(head.headers))

    def _order(self, names: tuple[str, ...]) -> _Order:
        if len(self._orders) >= _ORDERS:
            self._orders.clear()
            self._agreed.clear()  # who asks now merges with nobody of before; a cost, no error
        kept = tuple(name for name in names if name not in INERT_FIELDS + _FORM_FIELDS)
        agreed = self._agreed.setdefault(frozenset(kept), kept)
        order = self._orders[names] = _Order(
            agreed,
            agreed == names,
            any(name in names for name in _FORM_FIELDS),
            any(name in names for name in _STATEFUL_FIELDS),
        )
        return order


def _plain_form(fields: dict[str, Any]) -> bool:
    """Whether ``stream`` and its options say no more than that, and whether usage is wanted."""
    stream = fields.get("stream")
    if stream is True:
        return asks_at_most_usage(fields)
    # Without a stream the engine refuses options for one.
    return (stream is None or stream is False) and fields.get("stream_options") is None


def _is_seed(seed: object) -> bool:
    """vLLM reads -1 as no seed."""
    return type(seed) is int and seed >= 0


def _compact(body: bytes, fields: dict[str, Any]) -> bytes | None:
    """The body less spacing and escapes; None: the parsed fields do not say all that it says.

    Parsing forgets two things.  Of fields with one name only the last survives: then the quotes
    no longer add up (a quote written as \\u0022 would upset the sum, so it is not counted on).
    Integers past 64 bits become floats, which orjson writes with a positive exponent.
    """
    whole = orjson.dumps(fields)
    if body == whole:
        return whole
    # One byte is found many times faster than a longer word.
    if b"+" in whole and b"e+" in whole:
        return None
    if b"\\" in body and b"\\u0022" in body:
        return None
    return whole if body.count(b'"') == whole.count(b'"') else None
