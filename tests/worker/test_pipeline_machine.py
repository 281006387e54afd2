"""Whatever happens in whatever order: everybody is answered once, by the right call, and nothing
is left behind."""

from __future__ import annotations

import orjson
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batchfleet_worker.exchange import LAGGING_BYTES, Lost, Route
from batchfleet_worker.flight import Flight
from batchfleet_worker.live import Merging
from batchfleet_worker.memory import Budget
from batchfleet_worker.pipeline import Bounds
from batchfleet_worker.subscriber import Subscriber
from tests.worker.virtual import (
    STREAM,
    STREAM_WITH_USAGE,
    Client,
    EngineCall,
    World,
    chat,
    settings,
)

STATUSES = (200, 200, 200, 400, 401, 429, 500, 503)
BOUNDS = Bounds(replay_bytes=900, lag_bytes=LAGGING_BYTES * 2)  # about five events
BUDGET_BYTES = 6000
PICK = st.integers(0, 2**16)


class Pipelines(RuleBasedStateMachine):
    @initialize(limit=st.sampled_from([None, 1, 2]), mode=st.sampled_from(Merging))
    def start(self, limit: int | None, mode: Merging) -> None:
        self.clients: list[Client] = []
        self.bodies: dict[EngineCall, bytes] = {}  # what is left to be answered of a whole
        self.limit: int | None = None
        self.slots_before = 0
        self.budget = Budget(BUDGET_BYTES)
        self.taken: list[int] = []
        self.world = World(bounds=BOUNDS, budget=self.budget)
        self.world.engine.watch = self.arrived
        self.apply(limit, 0, 5, mode, 0)

    def arrived(self, call: EngineCall) -> None:
        """Above a limit that was lowered meanwhile, a call is replaced at most (re-sent)."""
        if self.limit is not None and call.request.head.route is not Route.PASS:
            assert len(self.slots()) <= max(self.limit, self.slots_before)

    def slots(self) -> list[EngineCall]:
        return [each for each in self.world.engine.live if each.request.head.route != Route.PASS]

    @rule(
        prompt=st.sampled_from("aab"),
        form=st.sampled_from(["", STREAM, STREAM, STREAM_WITH_USAGE]),
        route=st.sampled_from([Route.MERGE] * 9 + [Route.RELAY, Route.PASS, Route.TUNNEL]),
        priority=st.sampled_from([0, 0, 0, 5, -5]),
        timeout_seconds=st.sampled_from([None, None, None, 1.0]),
    )
    def ask(
        self,
        prompt: str,
        form: str,
        route: Route,
        priority: int,
        timeout_seconds: float | None,
    ) -> None:
        request = chat(
            prompt, extra=form, route=route, priority=priority, timeout_seconds=timeout_seconds
        )
        self.clients.append(self.world.ask(request))

    @rule(forms=st.lists(st.sampled_from(["", STREAM, STREAM_WITH_USAGE]), min_size=2, max_size=3))
    def a_burst_is_answered(self, forms: list[str]) -> None:
        before = len(self.world.calls)
        self.clients += [self.world.ask(chat("b", extra=form)) for form in forms]
        for call in self.world.calls[before:]:
            if call.live:
                self.begin(call, 200)
            if call.live:
                self.finish(call)

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
            self.begin(call, status)
        elif call.paused:
            return
        elif what == "data":
            self.go_on(call)
        elif what == "end":
            self.finish(call)

    def begin(self, call: EngineCall, status: int) -> None:
        call.head(status)
        if status == 200 and not call.streams:
            self.bodies[call] = call.body(f"whole {call.number}")

    def go_on(self, call: EngineCall) -> None:
        if call in self.bodies:
            body = self.bodies[call]
            self.bodies[call] = body[40:]
            call.data(body[:40])  # with the whole id: one that is cut stays everybody's
        elif call.streams and call.status == 200:
            call.token()
        else:
            call.data()

    def finish(self, call: EngineCall) -> None:
        rest = self.bodies.get(call, b"")
        if rest:
            call.data(rest)
        if call.streams and call.status == 200 and call.live:
            call.done_streaming()
        if call.live:
            call.end()

    @rule(n_bytes=st.integers(1, BUDGET_BYTES), give=st.booleans())
    def a_body_comes_or_goes(self, n_bytes: int, give: bool) -> None:
        if give and self.taken:
            self.budget.give(self.taken.pop())
        elif self.budget.take(n_bytes):
            self.taken.append(n_bytes)

    @rule(seconds=st.sampled_from([0.01, 0.5, 2, 200]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    @rule(
        limit=st.sampled_from([None, 1, 2, 4]),
        wait_ms=st.sampled_from([0, 0, 100]),
        queue=st.sampled_from([1, 5]),
        mode=st.sampled_from([Merging.ENFORCE, Merging.ENFORCE, *Merging]),
        cache_seconds=st.sampled_from([0, 30]),
    )
    def apply(
        self, limit: int | None, wait_ms: int, queue: int, mode: Merging, cache_seconds: int
    ) -> None:
        self.limit = limit
        self.wait_ms = wait_ms
        self.world.pipeline.apply(
            settings(limit, wait_ms=wait_ms, queue=queue, mode=mode, cache_seconds=cache_seconds)
        )

    @rule()
    def engine_restarts(self) -> None:
        self.world.pipeline.engine_restarted()

    @rule(step=st.sampled_from(["begin_drain", "stop_accepting", "abort_all"] + ["end_drain"] * 4))
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
        work = [client for client in self.clients if client.request.head.route is not Route.PASS]
        assert metrics.requests_offered_total == len(work)
        turned_away = sum(metrics.requests_turned_away_total.values())
        assert metrics.requests_offered_total == metrics.requests_admitted_total + turned_away
        assert sum(metrics.requests_refused_total.values()) == sum(
            client.refusal is not None for client in self.clients
        )
        pipeline.count()
        timed = [client for client in work if client.request.head.route is not Route.TUNNEL]
        assert sum(metrics.request_seconds.counts) == sum(map(_has_a_duration, timed))

    @invariant()
    def nobody_waits_beside_a_free_slot(self) -> None:
        pipeline = self.world.pipeline
        # Of batch traffic some may wait beside a slot that is kept for interactive traffic.
        interactive = [
            client
            for client in self.clients
            if client.waiting
            and (flight := _flight_of(client)).sent_at is None
            and flight.priority >= 0
        ]
        if interactive and not self.wait_ms and not self.world.metrics.circuit_open:
            assert self.limit is not None
            assert pipeline.in_flight >= self.limit

    @invariant()
    def answers_are_whole_and_of_a_call_for_the_same_thing(self) -> None:
        for client in self.clients:
            if client.head is None:
                continue
            call = self.world.calls[_call_of(client)]
            assert _prompt_of(call) == _prompt_of(client)
            if call.status != 200:
                assert b"".join(call.sent).startswith(client.text)
                assert client.text == b"".join(call.sent) or not (client.ended or client.waiting)
            elif client.ended:
                assert call.done
                assert client.said == "".join(call.texts)
                assert len(client.ids) == 1
                asked = b'"include_usage":true' in client.asked
                streams = client.text.startswith(b"data:")
                assert streams == (b'"stream":true' in client.asked)
                assert (b'"usage"' in client.text) == (asked or not streams)
            elif client.text.startswith(b"data:"):
                said, whole = client.said, "".join(call.texts)
                assert said == whole if client.waiting else whole.startswith(said)

    @invariant()
    def nobody_shares_an_id(self) -> None:
        ids = [
            (_call_of(client), *client.ids)
            for client in self.clients
            if client.ended and client.status == 200
        ]
        assert len(set(ids)) == len(ids)

    @invariant()
    def memory_is_given_back(self) -> None:
        assert sum(self.taken) <= self.budget.used_bytes <= BUDGET_BYTES

    @invariant()
    def a_paused_engine_will_be_woken(self) -> None:
        for call in self.world.engine.live:
            if call.paused:
                own = [c for c in self.clients if c.waiting and _flight_of(c) is call.receiver]
                assert own
                assert all(client.drained_due for client in own)

    def teardown(self) -> None:
        """Everything may finish now: then everybody is served and no trace is left."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.pipeline.end_drain()
        self.apply(1, 0, 5, Merging.ENFORCE, 0)
        world.pipeline.engine_back()
        for client in self.clients:
            if client.waiting:
                client.catch_up()
        while world.engine.live:
            call = world.engine.live[0]
            if not call.answered:
                self.begin(call, 200)
            if call.live:
                self.finish(call)
        assert not any(client.waiting for client in self.clients)
        assert world.empty()
        assert self.budget.used_bytes == sum(self.taken)
        # The one table that no number tells about: what may be joined.
        assert not list(world.pipeline._sharing)


def _call_of(client: Client) -> int:
    assert client.head is not None
    return int(client.head.headers[0][1])


def _prompt_of(either: Client | EngineCall) -> object:
    return orjson.loads(either.request.body)["prompt"]


def _has_a_duration(client: Client) -> bool:
    """Whether it tells how long an answer takes: it has it, or its time was up before."""
    answered = client.ended and client.status == 200
    return answered or client.left or client.code in ("timeout", "queue_timeout")


def _flight_of(client: Client) -> Flight:
    assert isinstance(client.ticket, Subscriber)
    assert client.ticket.flight is not None
    return client.ticket.flight


Pipelines.TestCase.settings = hypothesis_settings(
    max_examples=100, stateful_step_count=50, deadline=None
)
TestPipelines = Pipelines.TestCase
