"""What bench.correctness asks: reproducible, mixed, and true to what the simulator answers."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import islice

from batchfleet_worker.simulator import Settings, serve
from bench.traffic.account import Account
from bench.traffic.ledger import Ledger
from bench.traffic.question import MAX_MODEL_LEN, Manner, Question, Questions
from bench.traffic.verdict import Outcome, Verdict, judge
from bench.traffic.wire import Parser


def some(seed: int, number: int) -> list[Question]:
    return list(islice(iter(Questions(seed).next, None), number))


def test_the_same_seed_asks_the_same() -> None:
    assert some(1, 300) == some(1, 300)
    assert some(1, 300) != some(2, 300)


def test_equal_questions_come_from_several_tenants_and_in_several_forms() -> None:
    tenants, forms = defaultdict(set), defaultdict(set)
    for question in some(1, 2000):
        tenants[question.body].add(question.caller)
        forms[question.asked].add((question.body, question.stream))
    assert max(map(len, tenants.values())) == 3
    assert max(map(len, forms.values())) > 5


def test_every_manner_and_every_deserved_status_occurs() -> None:
    asked = some(1, 5000)
    assert {question.manner for question in asked} == set(Manner)
    assert {question.status for question in asked} == {200, 400, 404, 405}
    assert {question.chunked for question in asked} == {True, False}


async def test_the_simulator_alone_answers_all_of_it_as_foreseen() -> None:
    settings = Settings(port=0, speed=1e4, max_model_len=MAX_MODEL_LEN)
    async with serve(settings) as simulator:
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        parser = Parser()
        for question in some(3, 80):
            if len(question.body) > 100_000:
                continue
            answer = parser.expect(bodiless=question.method == b"HEAD")
            writer.write(question.wire())
            data = b""
            while not parser.feed(data, 0.0):
                data = await reader.read(65536)
                assert data
            verdict = judge(question, answer)
            assert verdict.outcome in (Outcome.COMPLETE, Outcome.OWN_ERROR), verdict
        writer.close()
        await writer.wait_closed()


def test_an_account_that_does_not_add_up_is_said() -> None:
    question = next(q for q in some(1, 50) if q.method == b"POST")
    ledger = Ledger()
    for outcome in (Outcome.COMPLETE, Outcome.COMPLETE, Outcome.REFUSED, Outcome.LEFT):
        ledger.enter(question, Verdict(outcome))
    right = {
        "requests_offered_total": 4.0,
        'requests_refused_total{code="queue_full"}': 1.0,
        "clients_left_total": 1.0,
    }
    assert Account({}, right).differences(ledger) == []
    too_few = {**right, "requests_offered_total": 3.0}
    assert len(Account({}, too_few).differences(ledger)) == 1
    assert (
        Account(right, {**right, "requests_offered_total": 9.0}).grown("requests_offered_total")
        == 5
    )
