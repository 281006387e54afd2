"""The access log: one line of JSON on standard output for a sample of the requests.

Off by default, because a line per request costs more than the rest of the hop.  Headers, bodies and
queries are never written: prompts and keys stay out of logs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import orjson

from batchfleet_worker.finished import Finished
from batchfleet_worker.http1 import read_own


class AccessLog:
    """``percent`` of the requests are written; ``random`` gives [0, 1), ``wall`` Unix seconds."""

    def __init__(
        self,
        percent: float,
        write: Callable[[bytes], object],
        random: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._share = percent / 100
        self._write = write
        self._random = random
        self._wall = wall

    def __call__(self, finished: Finished) -> None:
        if self._random() < self._share:
            self._write(line(finished, self._wall()))


def line(finished: Finished, wall: float) -> bytes:
    """One JSON object and a line break; what is unknown is left out."""
    request, told = finished.request, finished.told
    said: dict[str, object] = {
        "time": datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds"),
        "requestId": finished.request_id,
        "status": finished.status,
        "complete": finished.whole,
        "seconds": round(finished.seconds, 6),
        "responseBytes": finished.sent_bytes,
    }
    if finished.code:
        said["code"] = finished.code
    if request is not None:
        head = request.head
        said["method"] = head.method.decode("ascii", "replace")
        said["path"] = head.path
        said["requestBytes"] = len(request.body)
        said["stream"] = request.stream
        if request.model:
            said["model"] = request.model
        if head.caller.tenant:
            said["tenant"] = head.caller.tenant
        if head.priority:
            said["priority"] = head.priority
        for name, value in read_own(request.own):
            if name == b"traceparent":
                said["traceparent"] = value.decode("ascii", "replace")
    if told is not None:
        said["result"] = told.result
        said["queueSeconds"] = round(told.queue_seconds, 6)
        said["engineSeconds"] = round(told.engine_seconds, 6)
    return orjson.dumps(said) + b"\n"
