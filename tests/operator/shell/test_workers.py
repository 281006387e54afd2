"""Asking real HTTP servers at the pods' addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from batchfleet_operator.decision import Object, WorkerState
from batchfleet_operator.workers import Workers, wanted_settings

STATE = {
    "version": "0.1.0",
    "settings": {"hash": "cafe", "error": None},
    "draining": False,
    "inFlight": 3,
    "a field of a newer sidecar": 1,
}
CONFIRMED = WorkerState("cafe", None, draining=False, in_flight=3)


class Sidecar:
    """One server, which stands for every pod at 127.0.0.1."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Any = STATE
        self.port = 0

    async def state(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, str):
            return web.Response(text=self.answer)
        return web.json_response(self.answer)


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    sidecar = Sidecar()
    app = web.Application()
    app.router.add_get("/state", sidecar.state)
    async with TestServer(app) as server:
        sidecar.port = server.port or 0
        yield sidecar


def pod(uid: str = "u1", **metadata: object) -> Object:
    return {
        "kind": "Pod",
        "metadata": {
            "namespace": "team",
            "name": uid,
            "uid": uid,
            "labels": {"batchfleet.io/revision": "1"},
        }
        | metadata,
        "status": {
            "podIP": "127.0.0.1",
            "initContainerStatuses": [{"name": "sidecar", "started": True}],
        },
    }


async def test_a_pod_that_confirmed_is_not_asked_again_until_its_settings_change(
    sidecar: Sidecar,
) -> None:
    async with Workers(sidecar.port) as workers:
        assert await workers.states([pod()], {"1": "cafe"}) == {"u1": CONFIRMED}
        assert await workers.states([pod()], {"1": "cafe"}) == {"u1": CONFIRMED}
        assert sidecar.asked == 1
        assert await workers.states([pod()], {"1": "f00d"}) == {"u1": CONFIRMED}
        assert sidecar.asked == 2
        workers.forget(["u1"])
        await workers.states([pod()], {"1": "cafe"})
        assert sidecar.asked == 3


async def test_a_pod_without_its_keys_is_asked_again_until_it_has_them(sidecar: Sidecar) -> None:
    sidecar.answer = STATE | {"access": {"error": "no keys"}}
    async with Workers(sidecar.port) as workers:
        for asked in (1, 2):
            (state,) = (await workers.states([pod()], {"1": "cafe"})).values()
            assert state.access_error == "no keys"
            assert sidecar.asked == asked
        sidecar.answer = STATE | {"access": {"error": None}}
        assert await workers.states([pod()], {"1": "cafe"}) == {"u1": CONFIRMED}
        assert await workers.states([pod()], {"1": "cafe"}) == {"u1": CONFIRMED}
        assert sidecar.asked == 3


LEAVES = "2026-01-01T00:05:30Z"  # the deletion's time and its grace


async def test_a_leaving_pod_is_asked_each_time_until_its_time_is_over(sidecar: Sidecar) -> None:
    drain = {"drained": 4, "handedBack": 2, "aborted": 1}
    sidecar.answer = STATE | {"draining": True, "drain": drain}
    now = datetime(2026, 1, 1, tzinfo=UTC)
    async with Workers(sidecar.port, lambda: now) as workers:
        for asked in (1, 2):
            (state,) = (await workers.states([pod(deletionTimestamp=LEAVES)], {})).values()
            assert (state.drained, state.handed_back, state.aborted) == (4, 2, 1)
            assert sidecar.asked == asked
        now += timedelta(seconds=331)
        assert await workers.states([pod(deletionTimestamp=LEAVES)], {}) == {}
        assert sidecar.asked == 2


async def test_how_loaded_a_pod_is_can_be_asked_afresh(sidecar: Sidecar) -> None:
    async with Workers(sidecar.port) as workers:
        await workers.states([pod()], {"1": "cafe"})
        sidecar.answer = STATE | {"inFlight": 9}
        (state,) = (await workers.states([pod()], {"1": "cafe"}, afresh=True)).values()
        assert state.in_flight == 9
        assert sidecar.asked == 2


async def test_pods_that_cannot_answer_are_not_asked(sidecar: Sidecar) -> None:
    starting, unplaced = pod("u2"), pod("u3")
    starting["status"]["initContainerStatuses"] = [{"name": "sidecar", "started": False}]
    del unplaced["status"]["podIP"]
    leaving = pod("u4", deletionTimestamp="2026-01-01T00:00:00Z")
    async with Workers(sidecar.port) as workers:
        assert await workers.states([starting, unplaced, leaving], {"1": "cafe"}) == {}
    assert sidecar.asked == 0


@pytest.mark.parametrize("answer", ["<html>", "[]", '{"settings": {}}', "null"])
async def test_an_answer_that_is_none_is_as_good_as_silence(sidecar: Sidecar, answer: str) -> None:
    sidecar.answer = answer
    async with Workers(sidecar.port) as workers:
        assert await workers.states([pod()], {"1": "cafe"}) == {}


async def test_a_pod_that_nobody_answers_for_keeps_no_other_waiting(
    sidecar: Sidecar, unused_tcp_port: int
) -> None:
    async with Workers(unused_tcp_port) as workers:
        assert await workers.states([pod("u1"), pod("u2")], {}) == {}


def test_the_wanted_hash_is_of_the_bytes_that_are_in_the_cluster() -> None:
    settings = {
        "kind": "ConfigMap",
        "metadata": {"labels": {"batchfleet.io/revision": "7"}},
        "data": {"settings.json": "{}"},
    }
    assert wanted_settings([settings, pod()]) == {"7": "44136fa355b3678a"}
