"""What a request says, read as vLLM reads it, and refused in vLLM's words.

Three request models and one :class:`Refused`; the shapes of the errors are those of
tests/contract/recordings.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .text import Wish, count


class Refused(Exception):  # noqa: N818 - an answer, not a fault of ours
    """An error answer.  ``param`` names the field that it is about."""

    def __init__(self, status: int, type_: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.type = type_
        self.param = param

    def body(self) -> bytes:
        error = {"message": str(self), "type": self.type, "param": self.param}
        return orjson.dumps({"error": {**error, "code": self.status}})


def bad(message: str, param: str | None = None) -> Refused:
    return Refused(400, "BadRequestError", message, param)


class StreamOptions(BaseModel):
    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False


class Body(BaseModel):
    """The fields that every request may have; others are ignored, as vLLM does."""

    model_config = ConfigDict(frozen=True, extra="allow")

    model: str | None = None


class Generate(Body):
    """What chat and completions have in common."""

    max_tokens: int | None = None
    max_completion_tokens: int | None = None  # chat's newer name for it
    min_tokens: Annotated[int, Field(ge=0)] = 0
    n: Annotated[int, Field(ge=1, le=128)] | None = 1
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    ignore_eos: bool = False
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    logprobs: bool | int | None = None

    def check(self) -> None:
        """Raise Refused for what no field can say of itself."""
        if self.stream_options is not None and not self.stream:
            text = "Stream options can only be defined when `stream=True`."
            raise bad(f"{text} (parameter=stream_options)", "stream_options")
        if self.logprobs not in (None, False):
            raise bad("the simulator computes no logprobs", "logprobs")

    @property
    def stops(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def wish(self, prompt_tokens: int, max_model_len: int, default: int | None) -> Wish:
        """How long the answer may be.  Raises Refused when there is no room for it.

        ``default`` holds where ``max_tokens`` is absent; None: the rest of the context.
        """
        wanted = (
            self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        )
        if wanted is not None and wanted < 1:
            text = f"max_tokens must be at least 1, got {wanted}."
            raise bad(f"{text} (parameter=max_tokens, value={wanted})", "max_tokens")
        if wanted is not None and wanted > max_model_len:
            raise bad(
                f"max_tokens={wanted} cannot be greater than max_model_len={max_model_len}. "
                f"Please request fewer output tokens. (parameter=max_tokens, value={wanted})",
                "max_tokens",
            )
        room = max_model_len - prompt_tokens
        if room < 1:
            raise bad(
                f"This model's maximum context length is {max_model_len} tokens. However, your "
                f"prompt contains {prompt_tokens} tokens. Please reduce the length of the input "
                f"prompt. (parameter=input_text, value={prompt_tokens})",
                "input_text",
            )
        limits = [limit for limit in (wanted if wanted is not None else default, room) if limit]
        return Wish(min(limits), self.min_tokens, self.ignore_eos, self.stops)


class Message(BaseModel):
    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.get("text", "") or str(part) for part in self.content)
        return self.content or ""


class Chat(Generate):
    messages: list[Message]

    def prompt(self) -> str:
        """The conversation as one text.  Raises Refused when there is none."""
        return conversation(self.messages)


def conversation(messages: list[Message]) -> str:
    if not messages:
        raise bad(
            "Cannot apply chat template to an empty conversation. Provide at least one message."
        )
    turns = "".join(f"<|{message.role}|>{message.text()}\n" for message in messages)
    return f"{turns}<|assistant|>"


class Completion(Generate):
    prompt: str | list[int] | list[str] | list[list[int]] | None = None
    echo: bool = False

    def prompts(self) -> list[tuple[str, int]]:
        """The prompts' texts and lengths in tokens.  Raises Refused when there is none."""
        if not self.prompt:
            text = "Either prompt or prompt_embeds must be provided and non-empty."
            raise bad(f"{text} (parameter=prompt)", "prompt")
        return sized(self.prompt)


class Embedding(Body):
    input: str | list[int] | list[str] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"


class Tokenize(Body):
    prompt: str | None = None
    messages: list[Message] | None = None
    return_token_strs: bool | None = False


def sized(prompts: str | list[int] | list[str] | list[list[int]]) -> list[tuple[str, int]]:
    """Texts and their lengths in tokens; a list of token ids counts as it stands."""
    if isinstance(prompts, str):
        return [(prompts, count(prompts))]
    if prompts and isinstance(prompts[0], int):
        return [(str(prompts), len(prompts))]
    return [(p, count(p)) if isinstance(p, str) else (str(p), len(p)) for p in prompts]  # type: ignore[arg-type]


Parsed = TypeVar("Parsed", bound=Body)


def parse(model: type[Parsed], content_type: str, raw: bytes) -> Parsed:
    """Read a request's body.  Raises Refused when it is not what the path takes."""
    if content_type != "application/json":
        text = "Unsupported Media Type: Only 'application/json' is allowed"
        raise Refused(400, "Bad Request", f"1 validation error:\n  {text}")
    try:
        value = orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError as error:
        raise invalid([_what("json_invalid", f"body.{error.pos}", error.msg)]) from None
    if value is None:
        raise invalid([_what("missing", "body", "Field required")])
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise invalid(
            [_what(e["type"], ".".join(map(str, ("body", *e["loc"]))), e["msg"]) for e in found]
        ) from None


def invalid(errors: list[dict[str, str]]) -> Refused:
    """vLLM's error for a body that does not fit the path's schema."""
    title = f"{len(errors)} validation error{'s' if len(errors) > 1 else ''}:"
    lines = "".join(f"\n  {error}" for error in errors)
    return Refused(400, "Bad Request", title + lines, errors[0]["loc"])


def _what(type_: str, where: str, message: str) -> dict[str, str]:
    return {"type": type_, "loc": where, "msg": message}
