"""Whatever happens in whatever order: everybody is answered once, by the right call, and nothing
is left behind."""

from __future__ import annotations

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchfleet_worker.exchange import LAGGING_BYTES, Lost, Route
from batchfleet_worker.live import Merging
from batchfleet_worker.pipeline import Bounds
from tests.worker.virtual import Client, EngineCall, World, chat, settings

STATUSES = (200, 200, 200, 400, 401, 429, 500, 503)
BOUNDS = Bounds(replay_bytes=25, lag_bytes=LAGGING_BYTES * 2)  # about five chunks
PICK = st.integers(0, 2**16)


class Pipelines(RuleBasedStateMachine):
    @initialize(limit=st.sampled_from([None, 1, 2]), mode=st.sampled_from(Merging))
    def start(self, limit: int | None, mode: Merging) -> None:
        self.clients: list[Client] = []
        self.limit: int | None = None
        self.slots_before = 0
        self.world = World(bounds=BOUNDS)
        self.world.engine.watch = self.arrived
        self.apply(limit, 0, 5, mode)

    def arrived(self, call: EngineCall) -> None:
        """Above a limit that was lowered meanwhile, a call is replaced at most (re-sent)."""
        if self.limit is not None and call.request.route is not Route.PASS:
            assert len(self.slots()) <= max(self.limit, self.slots_before)

    def slots(self) -> list[EngineCall]:
        return [each for each in self.world.engine.live if each.request.route != Route.PASS]

    @rule(
        prompt=st.sampled_from("aab"),
        route=st.sampled_from([Route.MERGE] * 5 + [Route.RELAY, Route.PASS]),
    )
    def ask(self, prompt: str, route: Route) -> None:
        self.clients.append(self.world.ask(chat(prompt, route=route)))

    @precondition(lambda self: any(client.waiting for client in self.clients))
    @rule(pick=PICK, how=st.sampled_from(["leave", "lag", "lag far", "catch up"]))
    def client_does(self, pick: int, how: str) -> None:
        waiting = [client for client in self.clients if client.waiting]
        client = waiting[pick % len(waiting)]
        if how == "leave":
            client.leave()
        elif how == "catch up":
            client.catch_up()
        else:
            client.unread = LAGGING_BYTES * (3 if how == "lag far" else 1) + 1

    @precondition(lambda self: self.world.engine.live)
    @rule(
        pick=PICK,
        what=st.sampled_from(["answer", "data", "data", "end", "lost"]),
        status=st.sampled_from(STATUSES),
        why=st.sampled_from(Lost),
    )
    def engine_does(self, pick: int, what: str, status: int, why: Lost) -> None:
        live = self.world.engine.live
        call = live[pick % len(live)]
        if what == "lost":
            call.lost(Lost.BROKEN if call.answered else why)
        elif not call.answered:
            call.head(status)
        elif what == "data" and not call.paused:
            call.data()
        elif what == "end":
            call.end()

    @rule(seconds=st.sampled_from([0.01, 0.5, 2, 200]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule(
        limit=st.sampled_from([None, 1, 2, 4]),
        wait_ms=st.sampled_from([0, 0, 100]),
        queue=st.sampled_from([1, 5]),
        mode=st.sampled_from([Merging.ENFORCE, Merging.ENFORCE, *Merging]),
    )
    def apply(self, limit: int | None, wait_ms: int, queue: int, mode: Merging) -> None:
        self.limit = limit
        self.wait_ms = wait_ms
        self.world.pipeline.apply(settings(limit, wait_ms=wait_ms, queue=queue, mode=mode))

    @rule()
    def engine_restarts(self) -> None:
        self.world.pipeline.engine_restarted()

    @rule(step=st.sampled_from(["begin_drain", "stop_accepting", "abort_all", "end_drain"]))
    def drain(self, step: str) -> None:
        getattr(self.world.pipeline, step)()

    @invariant()
    def the_numbers_are_true(self) -> None:
        pipeline, metrics = self.world.pipeline, self.world.metrics
        self.slots_before = len(self.slots())
        assert pipeline.in_flight == metrics.in_flight == self.slots_before
        assert pipeline.queued == metrics.queued
        assert pipeline.clients == sum(client.waiting for client in self.clients)
        assert metrics.clients_left_total == sum(client.left for client in self.clients)
        work = [client for client in self.clients if client.request.route is not Route.PASS]
        assert metrics.requests_offered_total == len(work)
        assert sum(metrics.requests_refused_total.values()) == sum(
            client.refusal is not None for client in self.clients
        )

    @invariant()
    def nobody_waits_beside_a_free_slot(self) -> None:
        pipeline = self.world.pipeline
        if pipeline.queued and not self.wait_ms:
            assert self.limit is not None
            assert pipeline.in_flight >= self.limit

    @invariant()
    def answers_are_whole_and_of_a_call_for_the_same_thing(self) -> None:
        for client in self.clients:
            if client.head is None:
                continue
            call = self.world.calls[int(client.head.headers[0][1])]
            assert call.request == client.request
            whole = b"".join(call.sent)
            if client.ended:
                assert client.text == whole
                assert call.done
            elif client.waiting:
                assert client.text == whole
                assert call.live
            else:
                assert whole.startswith(client.text)

    @invariant()
    def a_paused_engine_will_be_woken(self) -> None:
        for call in self.world.engine.live:
            if call.paused:
                number = call.number
                own = [c for c in self.clients if c.waiting and c.head and number == _call_of(c)]
                assert own
                assert all(client.drained_due for client in own)

    def teardown(self) -> None:
        """Everything may finish now: then everybody is served and no trace is left."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.pipeline.end_drain()
        self.apply(1, 0, 5, Merging.ENFORCE)
        for client in self.clients:
            if client.waiting:
                client.catch_up()
        while world.engine.live:
            call = world.engine.live[0]
            if not call.answered:
                call.head(200)
            if call.live:
                call.end()
        assert not any(client.waiting for client in self.clients)
        assert world.empty()
        # The one table that no number tells about: what may be joined.
        assert world.pipeline._flights == {}


def _call_of(client: Client) -> int:
    assert client.head is not None
    return int(client.head.headers[0][1])


Pipelines.TestCase.settings = hypothesis_settings(
    max_examples=100, stateful_step_count=50, deadline=None
)
TestPipelines = Pipelines.TestCase
