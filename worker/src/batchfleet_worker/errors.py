"""Every error that is the sidecar's own, once: status, code for programs, sentence for people.

The engine's errors keep their own status and body and never pass through here.  The pipeline and
the data port refuse with these values; ``openai`` renders them as OpenAI-style bodies.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from batchfleet_worker.exchange import Refusal

SOON_SECONDS = 1
"""Retry-After where another pod, or the next free slot, is likely to take the request at once."""

ENGINE_BACK_SECONDS = 5
"""Retry-After where an engine has to come back first; clients with a Service find another pod."""

_INVALID = "invalid_request_error"
_SERVER = "server_error"

QUEUE_FULL = Refusal(
    429,
    "rate_limit_error",
    "queue_full",
    "The queue of this replica is full. Try again after the time in Retry-After.",
    SOON_SECONDS,
)
TIMEOUT = Refusal(
    504,
    _SERVER,
    "timeout",
    "The answer was not complete within the service's request timeout (requests.timeoutSeconds).",
)
DRAINING = Refusal(
    503,
    _SERVER,
    "draining",
    "This replica is shutting down. Try again: another replica will answer.",
    SOON_SECONDS,
)
NO_ENGINE = Refusal(
    503,
    _SERVER,
    "no_engine",
    "The inference engine of this replica does not accept connections.",
    ENGINE_BACK_SECONDS,
)
ENGINE_BROKEN = Refusal(
    502,
    _SERVER,
    "engine_broken",
    "The inference engine closed the connection before its answer was complete.",
)
TOO_SLOW = Refusal(
    503,
    _SERVER,
    "too_slow",
    "This client read too slowly to share an answer with others. Send the request again, "
    "or with the header 'x-batchfleet-merge: off'.",
    SOON_SECONDS,
)
OVERLOADED = Refusal(
    503,
    _SERVER,
    "overloaded",
    "This replica holds too many request bodies at once. Try again after the time in Retry-After.",
    SOON_SECONDS,
)
INVALID_API_KEY = Refusal(
    401,
    _INVALID,
    "invalid_api_key",
    "No API key of this service was sent. Send one as 'Authorization: Bearer KEY'.",
)
DEADLINE_UNREACHABLE = Refusal(
    503,
    _SERVER,
    "deadline_unreachable",
    "This replica has too much to do to begin with this request in time. "
    "Try again after the time in Retry-After.",
    SOON_SECONDS,
)
QUEUE_TIMEOUT = Refusal(
    503,
    _SERVER,
    "queue_timeout",
    "This request waited for a slot longer than the service allows "
    "(requests.queueTimeoutSeconds). Try again after the time in Retry-After.",
    SOON_SECONDS,
)
RATE_LIMITED = Refusal(
    429,
    "rate_limit_error",
    "rate_limited",
    "This caller's share of requests or tokens is used up (requests.rateLimits). "
    "Try again after the time in Retry-After.",
    SOON_SECONDS,
)
CIRCUIT_OPEN = Refusal(
    503,
    _SERVER,
    "circuit_open",
    "The inference engine of this replica fails every call, so that it gets none for a while. "
    "Try again after the time in Retry-After.",
    ENGINE_BACK_SECONDS,
)
INVALID_PRIORITY = Refusal(
    400,
    _INVALID,
    "invalid_priority",
    "The header x-batchfleet-priority is a whole number from -1000 to 1000.",
)
INVALID_TIMEOUT = Refusal(
    400,
    _INVALID,
    "invalid_timeout",
    "The header x-batchfleet-timeout-ms is a whole number of milliseconds above 0.",
)
NOT_A_TUNNEL = Refusal(
    426,
    _INVALID,
    "upgrade_required",
    "This path is a WebSocket: ask for it with Upgrade: websocket.",
)
HEADERS_TOO_LARGE = Refusal(
    431,
    _INVALID,
    "headers_too_large",
    "The request's headers are larger than this server accepts.",
)
REQUEST_TIMEOUT = Refusal(
    408,
    _INVALID,
    "request_timeout",
    "The request did not arrive completely in time.",
)


_REASONS = {
    "queue_full": "saturated",
    "overloaded": "saturated",
    "deadline_unreachable": "saturated",
    "queue_timeout": "saturated",
    "rate_limited": "rate-limited",
    "draining": "draining",
    "no_engine": "no-engine",
    "circuit_open": "no-engine",
}


def reason_of(refusal: Refusal) -> str | None:
    """Value of ``x-batchfleet-reason``: why load, not the request, was refused.  None: no load."""
    return _REASONS.get(refusal.code)


@lru_cache(maxsize=1024)
def later(refusal: Refusal, seconds: int) -> Refusal:
    """The same, to be tried again after ``seconds``; under overload each is used many times."""
    return replace(refusal, retry_after_seconds=seconds)


def bad_request(why: str) -> Refusal:
    """A request that is not well-formed HTTP; ``why`` is one sentence."""
    return Refusal(400, _INVALID, "bad_request", why)


def missing_tenant(header: str) -> Refusal:
    """The gateway that has to say who asks did not, or was passed by."""
    return Refusal(
        401,
        _INVALID,
        "missing_tenant",
        f"The header {header!r} names no tenant: send the request through the gateway that does.",
    )


def body_too_large(limit_bytes: int) -> Refusal:
    return Refusal(
        413,
        _INVALID,
        "body_too_large",
        f"The request body is larger than the {limit_bytes} bytes that this server accepts.",
    )


def not_found(path: str) -> Refusal:
    return Refusal(404, _INVALID, "not_found", f"This server has no path {path[:200]!r}.")


def method_not_allowed(method: str, allowed: str) -> Refusal:
    """``allowed`` is the value of the Allow header that goes with the answer."""
    return Refusal(
        405,
        _INVALID,
        "method_not_allowed",
        f"The method {method[:20]} is not allowed here; allowed: {allowed}.",
    )
