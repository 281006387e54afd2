"""When a service is looked at: in virtual time, so that a minute's back-off takes no time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from batchfleet_operator import loops
from batchfleet_operator.errors import UnavailableError
from batchfleet_operator.loops import WHEN_WOKEN, Look, Loops
from batchfleet_operator.store import Key
from tests.support import virtual

CHAT, OTHER = Key("team", "chat"), Key("team", "other")


def now() -> float:
    return asyncio.get_running_loop().time()


def play(look: Look, story: Callable[[Loops], Awaitable[None]]) -> Loops:
    """Run the loops for as long as the story lasts."""
    served = Loops(look, lambda: 0.5)

    async def stage() -> None:
        running = asyncio.create_task(served.run())
        await story(served)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    virtual.run(stage())
    return served


def test_wakes_close_together_are_one_look_and_none_is_lost() -> None:
    looks: list[float] = []

    async def look(key: Key) -> float | None:
        looks.append(now())
        await asyncio.sleep(2)
        return WHEN_WOKEN

    async def story(served: Loops) -> None:
        served.wake(CHAT)
        await asyncio.sleep(1)  # it is being looked at: what it reads may be older than this
        for _ in range(5):
            served.wake(CHAT)
        await asyncio.sleep(60)

    play(look, story)
    assert looks == [0, 2 + loops.QUIET_SECONDS]


def test_it_comes_back_when_the_plan_said_so() -> None:
    looks: list[float] = []

    async def look(key: Key) -> float | None:
        looks.append(now())
        return 30.0

    async def story(served: Loops) -> None:
        served.wake(CHAT)
        await asyncio.sleep(70)

    play(look, story)
    assert looks == [0, 30.5, 61]


def test_failures_back_off_to_a_minute_and_harm_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    looks: dict[Key, list[float]] = {CHAT: [], OTHER: []}
    faults = [UnavailableError("no answer"), KeyError("a fault of ours")]

    async def look(key: Key) -> float | None:
        looks[key].append(now())
        if key == CHAT and len(looks[CHAT]) <= 9:
            raise faults[len(looks[CHAT]) % 2]
        return WHEN_WOKEN

    async def story(served: Loops) -> None:
        served.wake(CHAT)
        served.wake(OTHER)
        await asyncio.sleep(1000)
        served.wake(CHAT)
        await asyncio.sleep(10)

    with caplog.at_level(logging.CRITICAL):
        play(look, story)
    waits = [after - before for before, after in zip(looks[CHAT], looks[CHAT][1:], strict=False)]
    assert waits[:9] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert looks[CHAT][10:] == [1000]  # and once it went well, it is quick again
    assert looks[OTHER] == [0]


def test_a_service_that_is_gone_has_no_loop_until_it_is_made_anew() -> None:
    there = True
    looks: list[float] = []

    async def look(key: Key) -> float | None:
        looks.append(now())
        return WHEN_WOKEN if there else None

    async def story(served: Loops) -> None:
        nonlocal there
        served.wake(CHAT)
        await asyncio.sleep(10)
        assert len(served) == 1
        there = False
        served.wake(CHAT)
        await asyncio.sleep(10)
        assert len(served) == 0
        there = True
        served.wake(CHAT)
        await asyncio.sleep(10)
        assert len(served) == 1

    play(look, story)
    assert looks == [0, 10, 20]


def test_a_wake_during_the_last_look_is_not_lost() -> None:
    answers = iter([None, WHEN_WOKEN])
    looks: list[float] = []

    async def look(key: Key) -> float | None:
        looks.append(now())
        await asyncio.sleep(2)
        return next(answers)

    async def story(served: Loops) -> None:
        served.wake(CHAT)
        await asyncio.sleep(1)
        served.wake(CHAT)
        await asyncio.sleep(60)
        assert len(served) == 1

    play(look, story)
    assert len(looks) == 2


def test_only_so_many_look_at_once_and_the_longest_is_known() -> None:
    at_once = most = 0

    async def look(key: Key) -> float | None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(10)
        at_once -= 1
        return WHEN_WOKEN

    async def story(served: Loops) -> None:
        for number in range(100):
            served.wake(Key("team", f"s-{number}"))
        assert served.longest_look_seconds() == 0
        await asyncio.sleep(4)
        assert served.longest_look_seconds() == 4
        await asyncio.sleep(1000)
        assert served.longest_look_seconds() == 0

    play(look, story)
    assert most == loops.LOOKS_AT_ONCE


def test_a_thousand_looks_that_wait_for_nothing_keep_nobody_waiting() -> None:
    looked: list[Key] = []
    between: list[int] = []  # looks since somebody else had a turn

    async def look(key: Key) -> float | None:
        looked.append(key)
        return WHEN_WOKEN

    async def story(served: Loops) -> None:
        keys = [Key("team", f"s-{number}") for number in range(1000)]
        for key in keys:
            served.wake(key)
        while len(looked) < len(keys):
            before = len(looked)
            await asyncio.sleep(0)
            between.append(len(looked) - before)

    play(look, story)
    assert max(between) <= loops.LOOKS_AT_ONCE
