"""The judge of bench.correctness is awake: every kind of wrong or missing answer is caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from batchfleet_worker.simulator import body_hash
from bench.traffic.ledger import Ledger
from bench.traffic.question import Question, Questions
from bench.traffic.verdict import Outcome, Verdict, judge
from bench.traffic.wire import Answer


def ask(wanted: Callable[[Question], bool]) -> Question:
    questions = Questions(seed=5)
    return next(q for q in iter(questions.next, None) if q.expected and wanted(q))


WHOLE = ask(lambda q: not q.stream and q.may_share)
STREAM = ask(lambda q: q.stream and q.may_share and not q.wants_usage)
COUNTED = ask(lambda q: q.stream and q.may_share and q.wants_usage)


def event(value: Any) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def answered(question: Question, call: str = "c1") -> Answer:
    """The right answer."""
    expected = question.expected
    assert expected is not None
    stamp = {"call": call}
    usage = {
        "prompt_tokens": expected.prompt_tokens,
        "completion_tokens": expected.completion_tokens,
    }
    parts = list(enumerate(zip(expected.texts, expected.finish_reasons, strict=True)))
    if question.stream:
        body = b"".join(
            event(
                {
                    "choices": [{"index": at, "delta": {"content": text}, "finish_reason": why}],
                    "simulator": stamp,
                }
            )
            for at, (text, why) in parts
        )
        if question.wants_usage:
            body += event({"choices": [], "usage": usage, "simulator": stamp})
        body += event(b"[DONE]")
    else:
        choices = [
            {"index": at, "message": {"content": text}, "finish_reason": why}
            for at, (text, why) in parts
        ]
        body = json.dumps({"choices": choices, "usage": usage, "simulator": stamp}).encode()
    return Answer(
        200,
        {
            b"content-type": b"text/event-stream" if question.stream else b"application/json",
            b"x-simulator-call": call.encode(),
            b"x-simulator-asked": question.asked.encode(),
            b"x-simulator-caller": question.caller.encode(),
            b"x-simulator-body": body_hash(question.body).encode(),
            b"x-batchfleet-result": b"direct",
        },
        bytearray(body),
        whole=True,
    )


@pytest.mark.parametrize("question", [WHOLE, STREAM, COUNTED])
def test_the_right_answer_is_complete(question: Question) -> None:
    assert judge(question, answered(question)).outcome is Outcome.COMPLETE


def test_another_questions_answer_is_a_mix_up() -> None:
    other = ask(lambda q: not q.stream and q.asked != WHOLE.asked)
    assert judge(WHOLE, answered(other)).outcome is Outcome.MIXED_UP


def test_another_tenants_answer_to_the_same_question_is_a_mix_up() -> None:
    other = replace(WHOLE, caller="0" * 16)
    verdict = judge(WHOLE, answered(other))
    assert (verdict.outcome, verdict.detail) == (Outcome.MIXED_UP, "another tenant's answer")


def test_a_text_under_the_right_stamp_must_still_be_the_right_text() -> None:
    answer = answered(STREAM)
    answer.body[:] = answer.body.replace(b'"content": "', b'"content": "x', 1)
    assert judge(STREAM, answer).outcome is Outcome.MIXED_UP


def test_parts_of_two_calls_are_a_mix_up() -> None:
    answer = answered(STREAM)
    answer.headers[b"x-simulator-call"] = b"c2"
    assert judge(STREAM, answer).outcome is Outcome.MIXED_UP


def test_usage_comes_to_those_who_asked_and_to_nobody_else() -> None:
    without = replace(COUNTED, wants_usage=False)
    assert judge(without, answered(COUNTED)).outcome is Outcome.MIXED_UP
    missing = answered(without)
    assert judge(COUNTED, missing).outcome is Outcome.MIXED_UP


def test_what_may_not_be_shared_or_cached_is_not() -> None:
    cached = answered(WHOLE)
    cached.headers[b"x-batchfleet-result"] = b"cached"
    assert judge(WHOLE, cached).outcome is Outcome.COMPLETE
    assert judge(replace(WHOLE, fresh=True), cached).outcome is Outcome.MIXED_UP
    assert judge(replace(WHOLE, may_share=False), cached).outcome is Outcome.MIXED_UP


@pytest.mark.parametrize("whole", [True, False])
def test_a_stream_without_its_end_is_lost(whole: bool) -> None:
    answer = answered(STREAM)
    del answer.body[answer.body.index(b"data: [DONE]") :]
    answer.whole = whole
    assert judge(STREAM, answer).outcome is Outcome.LOST
    assert judge(STREAM, answer, left=True).outcome is Outcome.LEFT


def test_no_answer_and_half_an_answer_are_lost() -> None:
    assert judge(WHOLE, Answer()).outcome is Outcome.LOST
    answer = answered(WHOLE)
    answer.whole = False
    assert judge(WHOLE, answer).outcome is Outcome.LOST


def test_an_error_event_is_an_explicit_error_unless_a_proper_end_follows() -> None:
    answer = answered(STREAM)
    del answer.body[answer.body.index(b"data: [DONE]") :]
    answer.body += event({"error": {"code": "engine_broken"}})
    answer.whole = False
    assert judge(STREAM, answer).outcome is Outcome.BROKEN_OFF
    answer.whole = True
    assert judge(STREAM, answer).outcome is Outcome.MIXED_UP


def test_an_engine_that_dies_between_the_text_and_its_end_is_an_explicit_error() -> None:
    answer = answered(STREAM)
    answer.body += event({"error": {"code": "engine_broken"}})
    answer.whole = False
    assert judge(STREAM, answer).outcome is Outcome.BROKEN_OFF
    answer.body += answered(STREAM).body
    assert judge(STREAM, answer).outcome is Outcome.MIXED_UP


def test_errors_are_told_apart_by_who_made_them() -> None:
    def error(status: int, code: object, message: str = "") -> Answer:
        body = json.dumps({"error": {"code": code, "message": message}}).encode()
        return Answer(status, {}, bytearray(body), whole=True)

    bad = replace(WHOLE, status=400, expected=None)
    assert judge(WHOLE, error(503, "no_engine")) == Verdict(Outcome.REFUSED, "no_engine")
    assert judge(WHOLE, error(500, 500, "injected")).outcome is Outcome.ENGINE_ERROR
    assert judge(bad, error(400, 400)).outcome is Outcome.OWN_ERROR
    assert judge(WHOLE, error(400, 400)).outcome is Outcome.MIXED_UP
    assert judge(bad, answered(WHOLE)).outcome is Outcome.MIXED_UP


def share(first: Question, second: Question, *results: str) -> list[Outcome]:
    """What the ledger makes of two answers by the same engine call."""
    ledger = Ledger()
    pairs = zip((first, second), results, strict=True)
    return [
        ledger.enter(question, Verdict(Outcome.COMPLETE, "", "c1", result)).outcome
        for question, result in pairs
    ]


def test_one_engine_call_answers_equals_only() -> None:
    may = replace(WHOLE, may_share=True)
    right = [Outcome.COMPLETE, Outcome.COMPLETE]
    wrong = [Outcome.COMPLETE, Outcome.MIXED_UP]
    assert share(may, may, "direct", "joined") == right
    assert share(may, replace(may, caller="other"), "direct", "joined") == wrong
    assert share(may, replace(may, asked="other"), "direct", "joined") == wrong
    assert share(may, replace(may, may_share=False), "direct", "joined") == wrong
    assert share(may, may, "direct", "direct") == wrong
