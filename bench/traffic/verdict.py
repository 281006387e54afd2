"""Whether an answer is the question's own, whole, or says that it is not.

Pure: a question and what came back in, an :class:`Outcome` and a sentence out.

*Lost* is what is neither complete nor an explicit error: no answer, a stream that stops without a
word, a body shorter than announced.  *Mixed up* is what belongs to another question, another
tenant, another call, or to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from batchfleet_worker.simulator import body_hash
from bench.traffic.question import Expected, Question
from bench.traffic.wire import Answer


class Outcome(StrEnum):
    COMPLETE = "complete"
    OWN_ERROR = "refused by the engine, as the request deserved"
    ENGINE_ERROR = "engine's error passed on"
    REFUSED = "refused by the sidecar"
    BROKEN_OFF = "broken off with an error event"
    LEFT = "the client left"
    SENT_AGAIN = "unanswered behind an announced close, sent again"
    LOST = "LOST"
    MIXED_UP = "MIXED UP"


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome
    detail: str = ""  # the error's code, or what is wrong
    call: str = ""  # the nonce of the engine call that answered
    result: str = ""  # direct | joined | cached


class _MixedUp(Exception):  # noqa: N818
    pass


class _Lost(Exception):  # noqa: N818
    pass


def judge(question: Question, answer: Answer, *, left: bool = False) -> Verdict:
    """``left``: the client went away itself, so that what is missing does not count."""
    call = answer.headers.get(b"x-simulator-call", b"").decode()
    result = answer.headers.get(b"x-batchfleet-result", b"").decode()
    try:
        verdict = _judge(question, answer)
    except _MixedUp as wrong:
        return Verdict(Outcome.MIXED_UP, str(wrong), call, result)
    except _Lost as missing:
        if left:
            return Verdict(Outcome.LEFT, "", call, result)
        return Verdict(Outcome.LOST, str(missing), call, result)
    return Verdict(verdict.outcome, verdict.detail, call, result)


def _judge(question: Question, answer: Answer) -> Verdict:
    if not answer.status:
        raise _Lost("no answer")
    if answer.status != 200:
        return _error(question, answer)
    if question.status != 200:
        raise _MixedUp(f"200 to a request that deserves {question.status}")
    if question.expected is None:
        return _other_path(question, answer)
    _stamped(question, answer)
    if answer.events != question.stream:
        raise _MixedUp(f"content-type {answer.headers.get(b'content-type')!r}")
    if question.stream:
        return _stream(question, question.expected, answer)
    return _whole(question.expected, answer)


def _stamped(question: Question, answer: Answer) -> None:
    """The simulator's hashes are those of what this client sent."""
    headers = answer.headers
    if headers.get(b"x-simulator-caller", b"").decode() != question.caller:
        raise _MixedUp("another tenant's answer")
    if headers.get(b"x-simulator-asked", b"").decode() != question.asked:
        raise _MixedUp("another question's answer")
    if not headers.get(b"x-simulator-call"):
        raise _MixedUp("an answer of no call")
    result = headers.get(b"x-batchfleet-result")
    if question.fresh and result == b"cached":
        raise _MixedUp("from the cache, though the request forbids it")
    if not question.may_share and result not in (b"direct", None):
        raise _MixedUp("shared, though it may not be")
    sent = body_hash(question.body)
    if not question.may_share and headers.get(b"x-simulator-body", b"").decode() != sent:
        raise _MixedUp("not asked byte for byte, though it may not be shared")


def _error(question: Question, answer: Answer) -> Verdict:
    status = answer.status
    if question.method == b"HEAD":
        if status == question.status:
            return Verdict(Outcome.OWN_ERROR, str(status))
        return Verdict(Outcome.REFUSED, str(status))
    if not answer.whole:
        raise _Lost(f"an error {status} cut short")
    error = _error_of(_json(answer.body))
    if error is None:
        raise _MixedUp(f"{status} without an error: {bytes(answer.body[:80])!r}")
    code = error.get("code")
    if isinstance(code, str):
        return Verdict(Outcome.REFUSED, code)
    if code != status:
        raise _MixedUp(f"status {status} with the error {code}")
    if status == question.status:
        return Verdict(Outcome.OWN_ERROR, str(status))
    if status == 500 and "injected" in str(error.get("message")):
        return Verdict(Outcome.ENGINE_ERROR, "500")
    raise _MixedUp(f"{status} to a request that deserves {question.status}")


def _other_path(question: Question, answer: Answer) -> Verdict:
    if not answer.whole:
        raise _Lost("cut short")
    if question.method != b"HEAD":
        body = _json(answer.body)
        key = {b"/v1/models": "data", b"/version": "version"}[question.target]
        if not isinstance(body, dict) or key not in body:
            raise _MixedUp(f"no answer to {question.target.decode()}")
    return Verdict(Outcome.COMPLETE)


def _whole(expected: Expected, answer: Answer) -> Verdict:
    if not answer.whole:
        raise _Lost(f"cut short after {len(answer.body)} bytes")
    body = _json(answer.body)
    if not isinstance(body, dict):
        raise _MixedUp("a body that is no object")
    if _error_of(body) is not None:
        raise _MixedUp("an error under status 200")
    _same_call(body, answer)
    choices = sorted(body["choices"], key=lambda choice: choice["index"])
    texts = tuple(_text(choice, "message") for choice in choices)
    _same(texts, expected.texts, "text")
    _same(tuple(c["finish_reason"] for c in choices), expected.finish_reasons, "finish reasons")
    _usage(body.get("usage"), expected)
    return Verdict(Outcome.COMPLETE)


def _stream(question: Question, expected: Expected, answer: Answer) -> Verdict:
    """Every event belongs to one call, and together they are the text, the reasons, the end."""
    texts = ["" for _ in expected.texts]
    reasons: list[str | None] = [None for _ in expected.texts]
    usage: Any = None
    error: dict[str, Any] | None = None
    done = False
    *events, rest = bytes(answer.body).split(b"\n\n")
    for event in events:
        if error is not None or (done and event == b"data: [DONE]"):
            raise _MixedUp("an event after the last one")
        if not event.startswith(b"data: "):
            raise _MixedUp(f"no event: {event[:80]!r}")
        data = event[6:]
        if data == b"[DONE]":
            done = True
            continue
        chunk = _json(data)
        error = _error_of(chunk)
        if error is not None:
            continue  # even after [DONE]: the engine died before it had closed the answer
        if done:
            raise _MixedUp("an event after the last one")
        _same_call(chunk, answer)
        for choice in chunk["choices"]:
            at = choice["index"]
            texts[at] += _text(choice, "delta")
            reasons[at] = choice["finish_reason"] or reasons[at]
        if "usage" in chunk:
            if chunk["choices"] or usage is not None:
                raise _MixedUp("usage out of place")
            usage = chunk["usage"]
    for had, whole in zip(texts, expected.texts, strict=True):
        if not whole.startswith(had):
            raise _MixedUp(f"another text: {had[:60]!r}")
    if error is not None:
        if answer.whole:
            raise _MixedUp("an error event, and then a proper end")
        return Verdict(Outcome.BROKEN_OFF, str(error.get("code")))
    if not done or not answer.whole or rest:
        raise _Lost(f"a stream that stops after {len(events)} events, with nothing said")
    _same(tuple(texts), expected.texts, "text")
    _same(tuple(reasons), expected.finish_reasons, "finish reasons")
    if question.wants_usage:
        _usage(usage, expected)
    elif usage is not None:
        raise _MixedUp("usage that was not asked for")
    return Verdict(Outcome.COMPLETE)


def _text(choice: dict[str, Any], inner: str) -> str:
    said = choice[inner].get("content") if inner in choice else choice["text"]
    return said or ""


def _same(had: object, wanted: object, what: str) -> None:
    if had != wanted:
        raise _MixedUp(f"another {what}: {str(had)[:80]}, not {str(wanted)[:80]}")


def _usage(usage: Any, expected: Expected) -> None:
    if not isinstance(usage, dict):
        raise _MixedUp("no usage")
    had = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    _same(had, (expected.prompt_tokens, expected.completion_tokens), "usage")


def _same_call(body: Any, answer: Answer) -> None:
    """A part without a stamp (one that the sidecar made of a stream) is judged by its text."""
    stamp = body.get("simulator") if isinstance(body, dict) else None
    if stamp is not None and stamp["call"].encode() != answer.headers[b"x-simulator-call"]:
        raise _MixedUp("parts of two calls in one answer")


def _error_of(body: Any) -> dict[str, Any] | None:
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return error
    # FastAPI's own errors, for paths and methods
    detail = body.get("detail") if isinstance(body, dict) else None
    return {"code": 405, "message": detail} if detail == "Method Not Allowed" else None


def _json(data: bytes | bytearray) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        raise _MixedUp(f"no JSON: {bytes(data[:80])!r}") from None
