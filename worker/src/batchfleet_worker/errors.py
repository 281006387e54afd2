"""Every error that is the sidecar's own, once: status, code for programs, sentence for people.

The engine's errors keep their own status and body and never pass through here.  The pipeline and
the data port refuse with these values; ``openai`` renders them as OpenAI-style bodies.
"""

from __future__ import annotations

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


def bad_request(why: str) -> Refusal:
    """A request that is not well-formed HTTP; ``why`` is one sentence."""
    return Refusal(400, _INVALID, "bad_request", why)


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
