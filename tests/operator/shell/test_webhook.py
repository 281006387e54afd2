"""Alertmanager's door: a post makes the operator look earlier, and does nothing else."""

from __future__ import annotations

import asyncio
import socket

import aiohttp

from batchfleet_operator import webhook


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_notification_of_any_content_is_a_reason_to_look() -> None:
    looks: list[str] = []

    async def scene() -> list[int]:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        async with (
            webhook.serve(lambda: looks.append("now"), port),
            aiohttp.ClientSession() as client,
        ):
            seen = []
            for body in (b'{"alerts": []}', b"\x00 not JSON"):
                async with client.post(f"{url}/alerts", data=body) as answer:
                    seen.append(answer.status)
            async with client.get(f"{url}/alerts") as answer:
                seen.append(answer.status)
            async with client.post(f"{url}/metrics") as answer:
                seen.append(answer.status)
            return seen

    assert asyncio.run(scene()) == [202, 202, 405, 404]
    assert looks == ["now", "now"]


def test_without_a_port_nothing_listens() -> None:
    async def scene() -> int:
        async with webhook.serve(lambda: None, None):
            return len([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])

    assert asyncio.run(scene()) == 0
