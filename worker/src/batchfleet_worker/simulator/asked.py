"""One request to generate, ready for the engine: what will be said, and how long it may be."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any

from . import answers, text
from .answers import Shape, Stamp
from .batch import Sequence
from .protocol import Completion, Generate
from .settings import Settings
from .text import Reply

COMPLETION_TOKENS = 16  # /v1/completions without max_tokens: OpenAI's default, and vLLM's


@dataclass(frozen=True, slots=True)
class Choice:
    """One text of the answer."""

    prompt_tokens: int
    prefix: str  # the prompt, where it is to be echoed
    reply: Reply

    def sequence(self) -> Sequence:
        return Sequence(self.prompt_tokens, self.reply.tokens)

    def text(self, begin: int, end: int) -> str:
        """What tokens begin + 1 to end say."""
        first = self.reply.ends[begin - 1] if begin else 0
        said = self.reply.text[first : self.reply.ends[end - 1]]
        return said if begin else self.prefix + said


@dataclass(frozen=True, slots=True)
class Asked:
    """The choices of prompt 0, of prompt 1, … and what they have in common."""

    shape: Shape
    body: Generate
    prompt: str  # all prompts, a line each: what faults look at
    choices: tuple[Choice, ...]
    max_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens of all choices together, once all is said."""
        return sum(choice.reply.tokens for choice in self.choices)

    def usage(self) -> dict[str, Any]:
        """A prompt counts once, however many choices it has."""
        prompt_tokens = sum(choice.prompt_tokens for choice in self.choices)
        return answers.usage(prompt_tokens // (self.body.n or 1), self.tokens)

    def whole(self, stamp: Stamp) -> bytes:
        """The answer to a client that does not stream."""
        texts = [(c.text(0, c.reply.tokens), c.reply) for c in self.choices]
        return self.shape.whole(stamp, texts, self.usage())


def ask(shape: Shape, body: Generate, prompts: Items[tuple[str, int]], settings: Settings) -> Asked:
    """What a request will get for these prompts and their lengths.

    Raises Refused when it contradicts itself, or there is no room for an answer.
    """
    body.check()
    default = COMPLETION_TOKENS if isinstance(body, Completion) else None
    echo = isinstance(body, Completion) and body.echo
    choices: list[Choice] = []
    max_tokens = 0
    for prompt, length in prompts:
        wish = body.wish(length, settings.max_model_len, default)
        max_tokens = max(max_tokens, wish.max_tokens)
        for index in range(body.n or 1):
            reply = text.reply(prompt, index, wish, settings.output_tokens)
            choices.append(Choice(length, prompt if echo else "", reply))
    joined = "\n".join(prompt for prompt, _ in prompts)
    return Asked(shape, body, joined, tuple(choices), max_tokens)
