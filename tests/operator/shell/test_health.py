"""Alive is what works, not what happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from batchfleet_operator.health import LOOK_MOST_SECONDS, STARTED_SECONDS, Heartbeat, serve
from batchfleet_operator.metrics import Metrics
from tests.support import virtual


def test_a_dead_watch_is_an_ailment_and_a_quiet_one_is_none() -> None:
    async def life() -> None:
        heartbeat = Heartbeat(lambda: 0.0)
        assert heartbeat.ailment() is None  # a standby, for as long as it takes
        heartbeat.leads(watches=2)
        await asyncio.sleep(STARTED_SECONDS - 1)
        assert heartbeat.ailment() is None  # they are coming up
        watches = [
            asyncio.create_task(asyncio.Event().wait(), name=f"watcher for {kind}")
            for kind in ("pods", "services")
        ]
        await asyncio.sleep(100 * 24 * 3600)
        assert heartbeat.ailment() is None
        watches[0].cancel()
        await asyncio.sleep(1)
        assert heartbeat.ailment() == "1 of 2 watches are running"
        watches[1].cancel()

    virtual.run(life())


def test_a_look_that_hangs_is_an_ailment() -> None:
    async def life() -> str | None:
        return Heartbeat(lambda: LOOK_MOST_SECONDS + 1).ailment()

    assert virtual.run(life()) == "a look at a service has been going on for 301 s"


async def test_it_is_served_with_the_metrics_beside_it(
    unused_tcp_port_factory: Callable[[], int],
) -> None:
    look = 0.0
    metrics = Metrics("1.2.3")
    metrics.count_call("get", "Pod")
    ports = unused_tcp_port_factory(), unused_tcp_port_factory()
    async with (
        serve(Heartbeat(lambda: look), metrics.as_text, *ports),
        aiohttp.ClientSession() as person,
    ):

        async def get(port: int, path: str) -> tuple[int, str]:
            async with person.get(f"http://127.0.0.1:{port}{path}") as answer:
                return answer.status, await answer.text()

        assert await get(ports[0], "/healthz") == (200, "starting\n")
        look = 1000.0
        status, ailment = await get(ports[0], "/healthz")
        assert (status, "1000 s" in ailment) == (503, True)
        status, text = await get(ports[1], "/metrics")
        assert status == 200
        assert 'batchfleet_operator_api_calls_total{kind="Pod",verb="get"} 1.0' in text
        assert 'batchfleet_operator_build_info{version="1.2.3"} 1.0' in text
