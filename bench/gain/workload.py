"""The five scenarios, and the list of requests that each arm of a round is given.

Pure and seeded: one seed gives one list.  An arm gets the same list as the others but for a nonce
at the very start of every prompt, so that neither the engine's prefix cache nor ours knows a
prompt from an arm before.

A *share* of the requests is byte-identical to an earlier one of the list, exactly:

- How often a prompt is asked follows Zipf's law with exponent 1, as questions to public services
  do (a few everywhere, a long tail asked once).
- A prompt's first request falls anywhere in the list, so that new ones keep coming to its end.
- Half of its repeats come in a burst behind the first (many ask at the same moment), the others
  anywhere later.

Prompts of one scenario look alike, and in ``similar`` two differ by one number only: what is
merged is equal, never similar.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ZIPF_EXPONENT = 1.0
BURST_SHARE = 0.5  # of the repeats
BURST_REQUESTS = 20  # mean distance behind the first one, in requests of the list
ANSWER_TOKENS = 16

_TEXT = """account answer battery bridge cable camera candle carpet cheese circle cloud coffee
corner cotton country device door engine evening family field filter finger forest friend garden
glass guitar hammer harbour island jacket kitchen ladder letter library market meadow minute mirror
morning mountain number office orange order paper pencil people picture planet pocket question
railway river school season shadow signal silver station storm street summer table teacher ticket
travel valley village water weather window winter"""
_WORDS = tuple(_TEXT.split())


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(_WORDS, k=count))


def _translation(number: int, rng: random.Random) -> tuple[str, str]:
    return (
        "You translate what you are given into German and add nothing to it.",
        f"Translate: in chapter {number} the {_words(rng, 14)}.",
    )


def _qa(number: int, rng: random.Random) -> tuple[str, str]:
    passage = random.Random(number % 20)  # 20 pages that all questions are about
    return (
        f"Answer from this page in one sentence. {_words(passage, 40)}.",
        f"Question {number}: what does the page say of the {_words(rng, 5)}?",
    )


def _similar(number: int, _: random.Random) -> tuple[str, str]:
    return (
        "You are the assistant of a shop. Be short and polite.",
        f"Hello, where is my order {10_000 + number}? It should have come last week.",
    )


def _mixed(number: int, rng: random.Random) -> tuple[str, str]:
    kinds: tuple[Callable[[int, random.Random], tuple[str, str]], ...] = (
        _translation,
        _qa,
        _similar,
    )
    return kinds[number % 3](number, rng)


def _unique(number: int, rng: random.Random) -> tuple[str, str]:
    return ("You are a helpful assistant.", f"Write a text, number {number}, of: {_words(rng, 12)}")


@dataclass(frozen=True)
class Scenario:
    """``direct_seconds``: for how long the list keeps a saturated engine busy without merging.

    The more is merged, the longer: what is left must dwarf the few tenths of a second in which the
    last requests run in an engine that empties.
    """

    name: str
    share: float
    bar: float
    direct_seconds: float
    prompt: Callable[[int, random.Random], tuple[str, str]]

    @property
    def ceiling(self) -> float:
        """Times the throughput, if a repeat cost nothing at all."""
        return 1 / (1 - self.share)


SCENARIOS = (
    Scenario("translation", 0.8, 3.0, 10, _translation),
    Scenario("qa", 0.6, 1.8, 8, _qa),
    Scenario("similar", 0.9, 5.0, 16, _similar),
    Scenario("mixed", 0.3, 1.3, 7, _mixed),
    Scenario("unique", 0.0, 0.97, 8, _unique),
)


def order(share: float, requests: int, seed: int) -> list[int]:
    """Which prompt is asked, request by request; prompts are numbered in order of appearance."""
    rng = random.Random(seed)
    prompts = max(1, requests - round(share * requests))
    first = [rng.random() for _ in range(prompts)]
    weights = [1 / rank**ZIPF_EXPONENT for rank in range(1, prompts + 1)]
    moments = [(moment, prompt) for prompt, moment in enumerate(first)]
    for prompt in rng.choices(range(prompts), weights, k=requests - prompts):
        begin = first[prompt]
        if rng.random() < BURST_SHARE:
            later = begin + rng.expovariate(requests / BURST_REQUESTS)
        else:
            later = rng.uniform(begin, 1)
        moments.append((later, prompt))
    moments.sort()
    numbers: dict[int, int] = {}
    return [numbers.setdefault(prompt, len(numbers)) for _, prompt in moments]


def bodies(scenario: Scenario, asked: Sequence[int], model: str, nonce: str) -> list[bytes]:
    """The requests' bodies; equal numbers in ``asked`` give equal bytes, others never do."""
    made: dict[int, bytes] = {}
    for number in asked:
        if number not in made:
            rng = random.Random(f"{scenario.name} {number}")
            system, user = scenario.prompt(number, rng)
            fields = {
                "model": model,
                "messages": [
                    {"role": "system", "content": f"{nonce} {system}"},
                    {"role": "user", "content": user},
                ],
                "temperature": 0,
                "max_tokens": ANSWER_TOKENS,
                "ignore_eos": True,  # every answer costs the same
                "stream": True,
            }
            made[number] = json.dumps(fields).encode()
    return [made[number] for number in asked]
