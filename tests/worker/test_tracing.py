"""Spans say what a request waited for, and hang where the client's trace says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from batchfleet_worker.exchange import Head, Request, Result, Route, Told
from batchfleet_worker.finished import Finished
from batchfleet_worker.tracing import Tracing, to_collector

TRACE_ID, SPAN_ID = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
ENDED = 1_800_000_000.0


def finished(sampled: int | None = 1, *, code: str = "", whole: bool = True) -> Finished:
    parent = f"traceparent: 00-{TRACE_ID:032x}-{SPAN_ID:016x}-0{sampled}\r\n".encode()
    head = Head(b"POST", "/v1/completions", b"/v1/completions", (), Route.MERGE)
    request = Request(head, b"{}", "r-1", own=b"" if sampled is None else parent)
    request.model = "tiny"
    return Finished(request, "r-1", 200, code, Told(Result.DIRECT, 0.25, 0.5), 1.5, 815, whole)


def spans_of(
    *all_of: Finished, percent: float = 0, random: Callable[[], float] = lambda: 0.5
) -> dict[str, ReadableSpan]:
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter, percent, random, lambda: ENDED, "test")
    for each in all_of:
        tracing(each)
    tracing.flush()
    spans = exporter.get_finished_spans()
    tracing.shutdown()
    return {span.name: span for span in spans}


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def test_a_sampled_trace_is_continued_with_queue_and_engine_beneath() -> None:
    spans = spans_of(finished())
    whole, queue, engine = spans["POST /v1/completions"], spans["queue"], spans["engine"]
    assert whole.context is not None
    assert whole.parent is not None
    assert (whole.context.trace_id, whole.parent.span_id) == (TRACE_ID, SPAN_ID)
    assert queue.parent is not None
    assert queue.parent.span_id == whole.context.span_id
    assert [seconds(span) for span in (whole, queue, engine)] == [1.5, 0.25, 1.25]
    assert whole.attributes is not None
    assert whole.attributes["batchfleet.result"] == "direct"
    assert whole.attributes["gen_ai.request.model"] == "tiny"


def test_a_trace_that_the_client_does_not_sample_is_not_ours_to_sample() -> None:
    assert spans_of(finished(sampled=0), percent=100) == {}


def test_without_a_trace_a_share_is_sampled() -> None:
    assert spans_of(finished(sampled=None), percent=49) == {}
    assert spans_of(finished(sampled=None), percent=51)


def test_an_answer_that_was_cut_off_is_an_error() -> None:
    spans = spans_of(finished(whole=False, code="engine_broken"))
    span = spans["POST /v1/completions"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "engine_broken"


async def test_a_collector_receives_them() -> None:
    got: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        got.append(await request.read())
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    tracing = to_collector(f"http://127.0.0.1:{port}/", 0, lambda: 1.0, lambda: ENDED)
    tracing(finished())
    await asyncio.to_thread(tracing.flush)
    await asyncio.to_thread(tracing.shutdown)
    await runner.cleanup()
    assert b"POST /v1/completions" in b"".join(got)
