"""Ready means: this engine has completed something.  The first request is ours.

An engine that listens may still be compiling, or be unable to answer at all.  Before any client is
sent here, the model's own name is asked for and one token is generated, as completion, as chat, or
one embedding, whichever the model serves.  Then the service's own warm-up prompts are asked once,
so that what all requests begin with is in the engine's prefix cache.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from batchfleet_worker.inquiry import Inquirer, InquiryError

ANSWER_SECONDS = 120.0  # a first request may compile

PROMPTS_SECONDS = 60.0
"""For all warm-up prompts together: they make the first answers faster, and are not worth more."""

_SHORT = {"max_tokens": 1, "temperature": 0}
_TRIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/completions", {"prompt": "Hi", **_SHORT}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], **_SHORT}),
    ("/v1/embeddings", {"input": "Hi"}),
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """``models``: what /v1/models answered; None: it did not."""

    warm: bool
    reason: str
    models: Any = None


async def warm_up(inquirer: Inquirer, prompts: Sequence[str] = ()) -> Outcome:
    """One attempt.  Never raises for what the engine does; the caller tries again."""
    models = None
    try:
        listing = await inquirer.get("/v1/models", ANSWER_SECONDS)
        if listing.status in (401, 403):
            # Its key is the clients', not ours; that it checks one is all we can learn.
            return Outcome(True, "the engine asks for a key: taken as warm without a request")
        if listing.status != 200:
            return Outcome(False, f"/v1/models answered {listing.status}")
        models = listing.json()
        model = _first_model(models)
        if model is None:
            return Outcome(False, "/v1/models names no model")
        answers = []
        for path, body in _TRIES:
            status = await _ask(inquirer, path, {"model": model, **body})
            if status == 200:
                if path != "/v1/embeddings":
                    await _ask_all(inquirer, model, prompts)
                return Outcome(True, f"{path} answered", models)
            answers.append(f"{path} {status}")
            if status >= 500:
                break
    except (InquiryError, TimeoutError, ValueError) as error:
        return Outcome(False, f"the warm-up request failed: {error or type(error).__name__}")
    return Outcome(False, "no warm-up request was answered: " + ", ".join(answers), models)


async def _ask_all(inquirer: Inquirer, model: str, prompts: Sequence[str]) -> None:
    """Each as what a chat begins with, or where the model has no chat as a plain prompt.  One that
    fails keeps nobody waiting."""
    try:
        async with asyncio.timeout(PROMPTS_SECONDS):
            for number, prompt in enumerate(prompts, start=1):
                messages = [
                    {"role": "system", "content": prompt},
                    {"role": "user", "content": "Hi"},
                ]
                body = {"model": model, "messages": messages, **_SHORT}
                status = await _ask(inquirer, "/v1/chat/completions", body)
                if status in (400, 404, 405):
                    body = {"model": model, "prompt": prompt, **_SHORT}
                    status = await _ask(inquirer, "/v1/completions", body)
                if status != 200:
                    log.warning("warm-up prompt %d was answered with %d", number, status)
    except (InquiryError, TimeoutError) as error:
        log.warning("the warm-up prompts were given up: %s", error or type(error).__name__)


async def _ask(inquirer: Inquirer, path: str, body: dict[str, Any]) -> int:
    return (await inquirer.post(path, body, ANSWER_SECONDS)).status


def _first_model(models: Any) -> str | None:
    match models:
        case {"data": [{"id": str(name)}, *_]}:
            return name
    return None
