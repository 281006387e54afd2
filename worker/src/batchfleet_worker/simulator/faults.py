"""Failures on demand: what goes wrong, for which prompts, and the port that changes it.

The control port is apart from the engine's own, so that nothing that reaches the engine through a
sidecar can break it: ``curl -X PATCH localhost:PORT/faults -d '{"stall": true}'``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel


class Faults(BaseModel):
    """What goes wrong now; nothing by default."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )

    error_percent: Annotated[float, Field(ge=0, le=100)] = 0.0  # answered with status 500
    slow_factor: Annotated[float, Field(gt=0)] = 1.0  # of every iteration's time
    stall: bool = False  # no more iterations, while /health goes on saying 200
    crash: bool = False  # the process exits when a request comes in
    break_after_tokens: Annotated[int, Field(ge=1)] | None = None  # then the connection is closed
    drop_pooled_percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Requests on a connection that answered before: it closes instead, with nothing said."""
    close_after_percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Answers after which the connection closes, without having said so."""
    on_prompt: str = ""  # only requests whose prompt contains this; empty: all, and at once

    def hits(self, prompts: Iterable[str]) -> bool:
        """Whether any of these prompts is meant."""
        return not self.on_prompt or any(self.on_prompt in prompt for prompt in prompts)


class Switchboard:
    """The faults in force, and the wait for them to change."""

    def __init__(self, faults: Faults, chance: random.Random) -> None:
        self.now = faults
        self._chance = chance
        self._changed = asyncio.Event()

    def set(self, faults: Faults) -> None:
        self.now = faults
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self) -> None:
        """Return when the faults have been set again."""
        await self._changed.wait()

    def errs(self, prompt: str) -> bool:
        """Whether this request is one of the ``error_percent``."""
        return self._falls(self.now.error_percent, prompt)

    def drops(self, prompt: str) -> bool:
        """Whether this request is one of the ``drop_pooled_percent``."""
        return self._falls(self.now.drop_pooled_percent, prompt)

    def closes(self, prompt: str) -> bool:
        """Whether this request is one of the ``close_after_percent``."""
        return self._falls(self.now.close_after_percent, prompt)

    def _falls(self, percent: float, prompt: str) -> bool:
        if not percent or not self.now.hits((prompt,)):
            return False
        return self._chance.random() * 100 < percent


def control(switchboard: Switchboard) -> web.Application:
    """The control port's application: GET, PATCH and DELETE (back to none) of /faults."""

    async def show(request: web.Request) -> web.Response:
        return web.json_response(text=switchboard.now.model_dump_json(by_alias=True))

    async def change(request: web.Request) -> web.Response:
        try:
            wanted = Faults.model_validate_json(await request.read())
        except ValidationError as error:
            return web.Response(status=400, text=f"{error}\n")
        fields = {name: getattr(wanted, name) for name in wanted.model_fields_set}
        switchboard.set(switchboard.now.model_copy(update=fields))
        return await show(request)

    async def clear(request: web.Request) -> web.Response:
        switchboard.set(Faults())
        return await show(request)

    app = web.Application()
    app.router.add_get("/faults", show)
    app.router.add_patch("/faults", change)
    app.router.add_delete("/faults", clear)
    return app
