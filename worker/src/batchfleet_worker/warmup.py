"""Ready means: this engine has completed something.  The first request is ours.

An engine that listens may still be compiling, or be unable to answer at all.  Before any client is
sent here, the model's own name is asked for and one token is generated, as completion, as chat, or
one embedding, whichever the model serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp

SECONDS = aiohttp.ClientTimeout(total=120)  # a first request may compile
_TRIES = (
    ("/v1/completions", {"prompt": "Hi", "max_tokens": 1, "temperature": 0}),
    (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1, "temperature": 0},
    ),
    ("/v1/embeddings", {"input": "Hi"}),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    warm: bool
    reason: str


async def warm_up(session: aiohttp.ClientSession, upstream: str) -> Outcome:
    """One attempt.  Never raises for what the engine does; the caller tries again."""
    try:
        async with session.get(f"{upstream}/v1/models", timeout=SECONDS) as response:
            if response.status in (401, 403):
                # Its key is the clients', not ours; that it checks one is all we can learn.
                return Outcome(True, "the engine asks for a key: taken as warm without a request")
            if response.status != 200:
                return Outcome(False, f"/v1/models answered {response.status}")
            model = _first_model(await response.json(content_type=None))
        if model is None:
            return Outcome(False, "/v1/models names no model")
        answers = []
        for path, body in _TRIES:
            async with session.post(
                upstream + path, json={"model": model, **body}, timeout=SECONDS
            ) as response:
                await response.read()
                if response.status == 200:
                    return Outcome(True, f"{path} answered")
                answers.append(f"{path} {response.status}")
                if response.status >= 500:
                    break
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return Outcome(False, f"the warm-up request failed: {error or type(error).__name__}")
    return Outcome(False, "no warm-up request was answered: " + ", ".join(answers))


def _first_model(models: Any) -> str | None:
    match models:
        case {"data": [{"id": str(name)}, *_]}:
            return name
    return None
