"""A streamed answer as server-sent events: what to write next, given how far the engine is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import answers
from .answers import Stamp
from .asked import Asked


class Stream:
    """The events of one answer, each given out once."""

    def __init__(self, asked: Asked, stamp: Stamp) -> None:
        self._asked = asked
        self._stamp = stamp
        options = asked.body.stream_options
        self._ends_with_usage = options is not None and bool(options.include_usage)
        self._always_usage = (
            self._ends_with_usage and options is not None and bool(options.continuous_usage_stats)
        )
        self._sent = [0] * len(asked.choices)

    @property
    def complete(self) -> bool:
        """Whether every token has been given out."""
        return sum(self._sent) == self._asked.tokens

    def opening(self) -> Iterator[bytes]:
        """What comes before the first token: in a chat, who speaks."""
        for index, choice in enumerate(self._asked.choices):
            begun = self._asked.shape.opening(index)
            if begun is not None:
                extra = {"prompt_token_ids": None, "prompt_text": None}
                yield self._event([begun], extra | self._usage_so_far(choice.prompt_tokens, 0))

    def news(self, generated: list[int]) -> Iterator[bytes]:
        """One event for each choice that has more tokens than were given out.

        ``generated`` counts the tokens of each choice.
        """
        for index, choice in enumerate(self._asked.choices):
            begin, end = self._sent[index], generated[index]
            if begin == end:
                continue
            self._sent[index] = end
            last = choice.reply if end == choice.reply.tokens else None
            extra = self._usage_so_far(choice.prompt_tokens, end)
            if last is not None and not self._ends_with_usage:
                extra["system_fingerprint"] = answers.FINGERPRINT
            piece = self._asked.shape.piece(index, choice.text(begin, end), last)
            yield self._event([piece], extra)

    def closing(self) -> bytes:
        """What comes after the last token."""
        if not self._ends_with_usage:
            return answers.DONE
        extra = {"usage": self._asked.usage(), "system_fingerprint": answers.FINGERPRINT}
        return self._event([], extra) + answers.DONE

    def _usage_so_far(self, prompt_tokens: int, generated: int) -> dict[str, Any]:
        if not self._always_usage:
            return {}
        spent = answers.usage(prompt_tokens, generated)
        return {"usage": {**spent, "completion_tokens_details": None}}

    def _event(self, choices: list[dict[str, Any]], extra: dict[str, Any]) -> bytes:
        return answers.event(self._stamp, self._asked.shape, choices, extra)
