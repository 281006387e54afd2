"""Which requests may share one stream although they ask for its answer in different forms.

A client who wants the whole answer at once can take it from a stream that already runs, or ran, for
an equal request (``fold`` puts it together), but only where stream and whole answer say the same:
one choice of plain text.  The rule is an allow-list, because a field that is not known here may
change what a stream consists of.  For the same reason the stream has to carry the token count,
which ``ask_usage`` asks the engine for on everybody's behalf.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

_HARMLESS = frozenset(
    {
        # what is asked
        *("model", "messages", "prompt", "add_special_tokens"),
        *("truncate_prompt_tokens", "truncation_side"),
        # how the next token is chosen
        *("temperature", "top_p", "top_k", "min_p", "seed", "logit_bias", "bad_words"),
        *("allowed_token_ids", "frequency_penalty", "presence_penalty", "repetition_penalty"),
        # when the text ends, and which of it is shown
        *("max_tokens", "max_completion_tokens", "min_tokens", "stop", "stop_token_ids"),
        *("ignore_eos", "include_stop_str_in_output", "skip_special_tokens"),
        "spaces_between_special_tokens",
        # who asks
        *("user", "request_id", "priority", "cache_salt"),
    }
)
"""Fields of vLLM 0.32's requests that change the text at most, never the shape of the answer."""

_UNSET_IF_NULL = frozenset(
    {
        *("n", "best_of", "echo", "suffix", "tools", "tool_choice", "response_format"),
        *("logprobs", "top_logprobs", "prompt_logprobs", "reasoning_effort"),
        *("structured_outputs", "stream", "stream_options"),
    }
)
"""Fields that do change it, but not when they are null."""

_PLAIN_TEXT = {"type": "text"}
_OPTIONS = re.compile(rb'"stream_options"\s*:\s*(null|\{[^{}"]*(?:"[a-z_]*"[^{}"]*)*\})')


def may_cross(fields: dict[str, Any]) -> bool:
    """Whether stream and whole answer of this request (its body's fields) say the same.

    Asked about a request of either form; a stream may ask for its token count, nothing else.
    """
    for name, value in fields.items():
        if name in _HARMLESS or (value is None and name in _UNSET_IF_NULL):
            continue
        if not _says_nothing(name, value, fields):
            return False
    prompt = fields.get("prompt", "")
    # Several prompts are several choices; a list of numbers is one prompt of tokens.
    return type(prompt) is str or (
        type(prompt) is list and bool(prompt) and all(type(token) is int for token in prompt)
    )


def _says_nothing(name: str, value: object, fields: dict[str, Any]) -> bool:
    """Exact types: vLLM reads ``true`` as 1, and a completion's ``"logprobs": false`` as 0."""
    if name in ("n", "best_of"):
        return type(value) is int and value == 1
    if name in ("stream", "echo"):
        return value is False or (name == "stream" and value is True)
    if name == "logprobs":
        return value is False and "messages" in fields
    if name == "response_format":
        return value == _PLAIN_TEXT
    if name == "stream_options":
        # Without a stream vLLM refuses the request.
        return fields.get("stream") is True and asks_at_most_usage(fields)
    return False


def asks_at_most_usage(fields: dict[str, Any]) -> bool:
    """Whether a stream differs from others by its token count at the end, if by anything."""
    options = fields.get("stream_options")
    if options is None:
        return True
    return type(options) is dict and all(
        name == "include_usage" and type(value) in (bool, type(None))
        for name, value in options.items()
    )


def wants_usage(fields: dict[str, Any]) -> bool:
    """Whether a stream's client asked for the token count at its end."""
    options = fields.get("stream_options")
    return type(options) is dict and options.get("include_usage") is True


def ask_usage(fields: dict[str, Any], body: bytes) -> tuple[bytes, bool]:
    """A stream's body that asks for the token count too, and whether that had to be added.

    ``fields`` is what ``body`` says.  Not a byte of the rest changes: numbers and escapes stay as
    the client wrote them.  Left alone where the client asked itself, or where a count would change
    the other events (``continuous_usage_stats``), or where the body is too odd to be sure.
    """
    options = fields.get("stream_options")
    if "stream_options" not in fields:
        if not fields:
            return body, False
        opening = body.find(b"{") + 1
        return b'%b"stream_options":{"include_usage":true},%b' % (
            body[:opening],
            body[opening:],
        ), True
    if options is not None and (
        type(options) is not dict
        or options.get("include_usage") not in (None, False)
        or options.get("continuous_usage_stats")
    ):
        return body, False
    wanted = {**(options or {}), "include_usage": True}
    found = _OPTIONS.search(body)
    if found is None:
        return body, False
    start, end = found.span(1)
    asked = b"%b%b%b" % (body[:start], orjson.dumps(wanted), body[end:])
    # The text found may have been something else's: a field further down, or one of two.
    if orjson.loads(asked) != {**fields, "stream_options": wanted}:
        return body, False
    return asked, True
