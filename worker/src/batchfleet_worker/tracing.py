"""OpenTelemetry spans, one per sampled request, with what it waited for as children.

Made when the request is over, out of times that are known by then, so that nothing is carried along
while it runs.  A trace that the client began (``traceparent``) is followed as its flag says; the
header itself travels on to the engine unchanged, whose spans stand beside ours.

OpenTelemetry is imported only where spans are asked for: it is heavier than the sidecar.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from batchfleet_worker.finished import Finished
from batchfleet_worker.http1 import read_own

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_NANO = 1_000_000_000
_ENDED_BADLY = 500  # from this status on a span is an error


class Tracing:
    """``percent`` of the requests that come without a trace of their own are sampled.

    ``random`` gives [0, 1); ``wall`` Unix seconds.  Raises ``ImportError`` where OpenTelemetry is
    not installed (the extra ``batchfleet-worker[tracing]``).
    """

    def __init__(
        self,
        exporter: SpanExporter,
        percent: float,
        random: Callable[[], float],
        wall: Callable[[], float],
        service: str,
    ) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider: TracerProvider = TracerProvider(
            resource=Resource.create({"service.name": service}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("batchfleet")
        self._propagator = TraceContextTextMapPropagator()
        self._share = percent / 100
        self._random = random
        self._wall = wall

    def __call__(self, finished: Finished) -> None:
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation import get_current_span

        request, told = finished.request, finished.told
        carrier = _trace_headers(finished)
        parent = self._propagator.extract(carrier)
        sampled = (
            get_current_span(parent).get_span_context().trace_flags.sampled
            if "traceparent" in carrier
            else self._random() < self._share
        )
        if not sampled:
            return
        ended = int(self._wall() * _NANO)
        began = ended - int(finished.seconds * _NANO)
        attributes: dict[str, str | int | float] = {
            "http.response.status_code": finished.status,
            "http.response.body.size": finished.sent_bytes,
            "batchfleet.request_id": finished.request_id,
        }
        name = "unknown"
        if request is not None:
            head = request.head
            name = f"{head.method.decode('ascii', 'replace')} {head.path}"
            attributes["http.request.method"] = head.method.decode("ascii", "replace")
            attributes["url.path"] = head.path
            if request.model:
                attributes["gen_ai.request.model"] = request.model
        if told is not None:
            attributes["batchfleet.result"] = str(told.result)
        if finished.code:
            attributes["error.type"] = finished.code
        span = self._tracer.start_span(
            name, parent, kind=SpanKind.SERVER, attributes=attributes, start_time=began
        )
        if told is not None:
            within = set_span_in_context(span, parent)
            sent = began + int(told.queue_seconds * _NANO)
            self._tracer.start_span("queue", within, start_time=began).end(sent)
            engine = self._tracer.start_span(
                "engine", within, kind=SpanKind.CLIENT, start_time=sent
            )
            engine.set_attribute("batchfleet.first_byte_seconds", told.engine_seconds)
            engine.end(ended)
        if finished.status >= _ENDED_BADLY or not finished.whole:
            span.set_status(Status(StatusCode.ERROR, finished.code or None))
        span.end(ended)

    def flush(self) -> None:
        """Send what is still held; blocks for a few seconds at most."""
        self._provider.force_flush(3000)

    def shutdown(self) -> None:
        self._provider.shutdown()


def to_collector(
    endpoint: str, percent: float, random: Callable[[], float], wall: Callable[[], float]
) -> Tracing:
    """Spans for an OTLP collector; ``endpoint`` is its HTTP address, ``http://host:4318``."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", timeout=5)
    return Tracing(exporter, percent, random, wall, "batchfleet-sidecar")


def _trace_headers(finished: Finished) -> dict[str, str]:
    if finished.request is None:
        return {}
    return {
        name.decode("ascii", "replace"): value.decode("ascii", "replace")
        for name, value in read_own(finished.request.own)
        if name in (b"traceparent", b"tracestate")
    }
