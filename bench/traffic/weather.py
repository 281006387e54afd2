"""What goes wrong while the traffic flows: the engine's faults in turns, and its restarts."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

from bench.traffic.fleet import Fleet
from bench.traffic.question import FRAGILE

SPELLS: tuple[dict[str, Any], ...] = (
    {},  # fair
    {"onPrompt": FRAGILE, "errorPercent": 40, "breakAfterTokens": 2},
    {"dropPooledPercent": 5, "closeAfterPercent": 10},
    {"closeAfterPercent": 100},
    {"errorPercent": 5},
    {"dropPooledPercent": 3, "errorPercent": 2, "breakAfterTokens": 9},
    {"slowFactor": 8},
    {"stall": True},
)
"""Each with a share of the time of its own, in turns."""

SPELL_SECONDS = (0.3, 1.5)


async def storm(
    fleet: Fleet, chance: random.Random, restart_every_seconds: float, over: asyncio.Event
) -> None:
    """Faults in random order, and an engine that dies now and then, until it is ``over``.

    Leaves the engine running and without faults.
    """
    time = asyncio.get_running_loop().time
    restart_at = time() + restart_every_seconds
    spells: list[dict[str, Any]] = []
    while not over.is_set():
        if not spells:
            spells = list(SPELLS)
            chance.shuffle(spells)
        await fleet.fault(**spells.pop())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), chance.uniform(*SPELL_SECONDS))
        if time() >= restart_at:
            await fleet.restart_engine(asked=chance.random() < 0.5)
            restart_at = time() + chance.uniform(0.5, 1.5) * restart_every_seconds
    await fleet.fault()
