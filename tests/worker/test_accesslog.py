"""The access log tells what happened to a request, and none of what it said."""

from __future__ import annotations

import itertools
import json

from batchfleet_worker.accesslog import AccessLog, line
from batchfleet_worker.exchange import Caller, Head, Request, Result, Route, Told
from batchfleet_worker.finished import Finished

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def finished() -> Finished:
    head = Head(
        b"POST",
        "/v1/chat/completions",
        b"/v1/chat/completions?api_key=sk-secret",
        ((b"authorization", b"Bearer sk-secret"),),
        Route.MERGE,
        Caller("team-a", 10),
        priority=5,
    )
    own = b"tracestate: a=1\r\ntraceparent: %b\r\n" % TRACE
    request = Request(head, b'{"messages":"my secret"}', "r-1", own=own)
    request.model, request.stream = "tiny", True
    return Finished(request, "r-1", 200, "", Told(Result.JOINED, 0.25, 0.5), 1.5, 815, True)


def test_a_line_tells_what_happened() -> None:
    assert json.loads(line(finished(), 1_800_000_000.25)) == {
        "time": "2027-01-15T08:00:00.250+00:00",
        "requestId": "r-1",
        "status": 200,
        "complete": True,
        "seconds": 1.5,
        "responseBytes": 815,
        "method": "POST",
        "path": "/v1/chat/completions",
        "requestBytes": 24,
        "stream": True,
        "model": "tiny",
        "tenant": "team-a",
        "priority": 5,
        "traceparent": TRACE.decode(),
        "result": "joined",
        "queueSeconds": 0.25,
        "engineSeconds": 0.5,
    }


def test_no_secret_and_no_prompt_is_written() -> None:
    assert b"secret" not in line(finished(), 0.0)


def test_what_was_never_understood_has_a_line_too() -> None:
    said = json.loads(line(Finished(None, "r-2", 400, "bad_request", None, 0.0, 80, True), 0.0))
    assert (said["code"], said["status"]) == ("bad_request", 400)
    assert "path" not in said


def test_a_sample_is_written() -> None:
    written: list[bytes] = []
    draws = itertools.cycle([0.1, 0.6, 0.24, 0.25])
    log = AccessLog(25, written.append, lambda: next(draws), lambda: 0.0)
    for _ in range(8):
        log(finished())
    assert len(written) == 4
