"""The few things the sidecar has to know of the OpenAI protocol: paths and error shapes.

First on a request's way: ``Routes`` says whether a (method, decoded path) is known, and what may
be done with it.  Last on the way of a refusal: it becomes a body or, inside a stream, an event.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from batchfleet_worker.exchange import Refusal, Route

_READS = ("/v1/models", "/version", "/health", "/ping")

_GENERATE = ("/v1/chat/completions", "/v1/chat/completions/batch", "/v1/completions")

_EMBED = (
    "/v1/embeddings",
    "/score",
    "/v1/score",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/pooling",
    "/classify",
)

COMPUTED = frozenset(_EMBED)
"""Paths whose answer is computed, not sampled: equal requests merge without ``temperature``."""

# Never merged: answers that are stored or looked up by id, multipart bodies, other dialects.
_ONE_BY_ONE = (
    "/v1/responses",
    "/v1/messages",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/tokenize",
    "/detokenize",
)

# The engine's control endpoints (/sleep, /pause, /collective_rpc, /load_lora_adapter, …) are
# missing on purpose: what is not listed here is answered 404 and never reaches the engine.
_KNOWN: dict[str, dict[bytes, Route]] = {
    **{path: {b"GET": Route.PASS, b"HEAD": Route.PASS} for path in _READS},
    **{path: {b"POST": Route.MERGE} for path in (*_GENERATE, *_EMBED)},
    **{path: {b"POST": Route.RELAY} for path in _ONE_BY_ONE},
    "/v1/realtime": {b"GET": Route.TUNNEL},
}

_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"})


class Routes:
    """The allow-list of (method, percent-decoded path).

    ``extra`` is the text of BATCHFLEET_EXTRA_PATHS: ``METHOD:/path=relay|merge|pass`` entries,
    separated by commas; they come on top of the ``known`` ones and win over them.
    Raises ``ValueError`` with one sentence for an entry that does not read so.
    """

    def __init__(
        self, extra: str = "", known: Mapping[str, Mapping[bytes, Route]] | None = None
    ) -> None:
        """``known``: other paths than those of the OpenAI protocol."""
        known = _KNOWN if known is None else known
        self._known = {path: dict(methods) for path, methods in known.items()}
        for entry in filter(None, (part.strip() for part in extra.split(","))):
            method, path, route = _parse(entry)
            self._known.setdefault(path, {})[method] = route

    def route(self, method: bytes, path: str) -> Route | None:
        """None: not on the list.  ``path`` is decoded and has no query."""
        methods = self._known.get(path)
        return methods.get(method) if methods else None

    def allowed(self, path: str) -> tuple[bytes, ...]:
        """The methods known for a path, for the Allow header; empty: the path itself is unknown."""
        return tuple(self._known.get(path, ()))


def _parse(entry: str) -> tuple[bytes, str, Route]:
    pattern, equals, name = entry.rpartition("=")
    method, colon, path = pattern.partition(":")
    verb = method.encode("ascii", "replace")
    if not equals or not colon or verb not in _METHODS or not path.startswith("/"):
        raise ValueError(f"{entry!r} is not METHOD:/path=relay|merge|pass.")
    try:
        return verb, path, Route(name)
    except ValueError:
        choices = ", ".join(Route)
        raise ValueError(f"{entry!r}: {name!r} is not one of {choices}.") from None


def error_body(refusal: Refusal) -> bytes:
    """The JSON body of an error response, as OpenAI's clients parse it."""
    return orjson.dumps(
        {
            "error": {
                "message": refusal.message,
                "type": refusal.type,
                "param": None,
                "code": refusal.code,
            }
        }
    )


def error_event(refusal: Refusal) -> bytes:
    """The server-sent event that tells a streaming client that its answer stays incomplete.

    No ``[DONE]`` follows, so that a client never takes the part it has for the whole.
    """
    return b"data: " + error_body(refusal) + b"\n\n"
