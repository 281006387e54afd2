"""Every request is told of once, with what became of it, however it ends."""

from __future__ import annotations

from batchfleet_worker.errors import QUEUE_FULL, TIMEOUT
from batchfleet_worker.exchange import Lost
from batchfleet_worker.finished import Finished
from batchfleet_worker.watched import Watch
from tests.worker.virtual import Client, World, chat, settings


class Watched(World):
    """A pipeline that is watched."""

    def __init__(self, limit: int | None = None, queue: int = 1000) -> None:
        super().__init__(settings(limit, queue=queue))
        self.told: list[Finished] = []
        self.watch = Watch(self.pipeline.offer, [self.told.append], self.clock.time)

    def watch_one(self, prompt: str = "hello") -> Client:
        client = Client(chat(prompt))
        client.ticket = self.watch.offer(client.request, client)
        return client


def test_an_answer_is_told_of_when_it_is_whole() -> None:
    world = Watched()
    client = world.watch_one()
    world.clock.advance(2)
    world.calls[0].answer(chunks=3)
    assert client.text == b"<0.0><0.1><0.2>"
    [told] = world.told
    assert (told.request, told.status, told.code, told.whole) == (client.request, 200, "", True)
    assert (told.seconds, told.sent_bytes) == (2, len(client.text))


def test_a_refusal_has_its_code() -> None:
    world = Watched(limit=1, queue=0)
    world.watch_one("one")
    world.watch_one("two")
    [told] = world.told
    assert (told.status, told.code, told.whole) == (429, QUEUE_FULL.code, True)


def test_an_answer_that_broke_is_not_whole() -> None:
    world = Watched()
    world.watch_one()
    world.calls[0].head()
    world.calls[0].data()
    world.calls[0].lost(Lost.BROKEN)
    [told] = world.told
    assert (told.status, told.code, told.whole) == (200, "engine_broken", False)


def test_a_client_that_left_is_told_of_and_its_call_cancelled() -> None:
    world = Watched()
    world.watch_one().leave()
    assert world.calls[0].cancelled
    [told] = world.told
    assert (told.status, told.code, told.whole) == (0, "client_left", False)


def test_what_was_never_offered_is_told_of_too() -> None:
    world = Watched()
    world.watch.refused(TIMEOUT, "r-9")
    [told] = world.told
    assert (told.request, told.request_id, told.status) == (None, "r-9", 504)
