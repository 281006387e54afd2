"""Settle, refuse, wait: in virtual time, over a count of requests that the test sets."""

from __future__ import annotations

import pytest

from batchfleet_worker.drain import Drain, Phase
from tests.worker.virtual import VirtualClock


class Work:
    """Records what a drain asks of the pipeline."""

    def __init__(self) -> None:
        self.clients = 0
        self.asked: list[str] = []
        self.drain: Drain

    def begin_drain(self) -> None:
        self.asked.append("begin")

    def stop_accepting(self) -> None:
        self.asked.append("stop")

    def end_drain(self) -> None:
        self.asked.append("end")

    def abort_all(self) -> None:
        self.asked.append("abort")
        self.clients = 0
        self.drain.idle()


class Door:
    def __init__(self) -> None:
        self.draining = False
        self.closed_idle = 0

    def close_idle(self) -> None:
        self.closed_idle += 1


class Scene:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.work = Work()
        self.door = Door()
        self.drain = Drain(self.clock, self.work, self.door, settle_seconds=10, timeout_seconds=300)
        self.work.drain = self.drain

    def finish_requests(self) -> None:
        self.work.clients = 0
        self.drain.idle()

    def at(self, phase: Phase) -> bool:
        return self.drain.phase is phase


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_idle_sidecar_still_settles_before_it_is_drained(scene: Scene) -> None:
    scene.drain.begin()
    assert scene.door.draining
    scene.clock.advance(9.9)
    assert scene.at(Phase.SETTLING)
    assert scene.work.asked == ["begin"]
    scene.clock.advance(0.1)
    assert scene.at(Phase.DRAINED)
    assert scene.work.asked == ["begin", "stop"]
    assert scene.door.closed_idle == 1
    assert scene.drain.over.is_set()


def test_it_waits_for_the_last_request(scene: Scene) -> None:
    scene.work.clients = 2
    scene.drain.begin()
    scene.drain.idle()  # others finished while it settled: not the end
    scene.clock.advance(200)
    assert scene.at(Phase.WAITING)
    assert not scene.drain.over.is_set()
    scene.finish_requests()
    assert scene.at(Phase.DRAINED)
    assert "abort" not in scene.work.asked


def test_at_the_deadline_the_rest_is_cut_off(scene: Scene) -> None:
    scene.work.clients = 2
    scene.drain.begin()
    scene.clock.advance(309.9)
    assert "abort" not in scene.work.asked
    scene.clock.advance(0.1)
    assert "abort" in scene.work.asked
    assert scene.at(Phase.DRAINED)


def test_beginning_twice_is_one_drain(scene: Scene) -> None:
    scene.drain.begin()
    scene.clock.advance(5)
    scene.drain.begin()
    scene.clock.advance(5)
    assert scene.at(Phase.DRAINED)
    scene.drain.begin()
    assert scene.at(Phase.DRAINED)
    assert scene.work.asked == ["begin", "stop"]


@pytest.mark.parametrize("seconds", [3, 100, 400])
def test_an_engine_that_is_back_ends_the_drain_whenever_it_comes(
    scene: Scene, seconds: float
) -> None:
    scene.work.clients = 1
    scene.drain.begin()
    scene.clock.advance(seconds)
    scene.drain.engine_back()
    assert scene.at(Phase.SERVING)
    assert scene.work.asked[-1] == "end"
    assert not scene.door.draining
    assert scene.drain.over.is_set()
    scene.clock.advance(1000)
    assert scene.at(Phase.SERVING), "no timer of the ended drain is left"
    scene.work.clients = 1
    scene.drain.begin()
    assert not scene.drain.over.is_set()
    scene.clock.advance(10)
    assert scene.at(Phase.WAITING)


def test_the_end_of_the_process_is_final(scene: Scene) -> None:
    scene.drain.begin()
    scene.drain.begin(final=True)
    scene.drain.engine_back()
    assert scene.at(Phase.SETTLING)
    scene.clock.advance(10)
    assert scene.at(Phase.DRAINED)


def test_an_engine_that_is_back_without_a_drain_changes_nothing(scene: Scene) -> None:
    scene.drain.engine_back()
    assert scene.work.asked == []
