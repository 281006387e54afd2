"""What can be seen of the operator's process from outside while it works."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.support.operator_process import OperatorProcess

ASK_SECONDS = 0.02
LOOK_SECONDS = 2.0
"""Between two looks at its metrics: below half a tick, so that no two ticks look like one."""


@dataclass(frozen=True)
class Counts:
    """What the operator has counted of itself."""

    cpu_seconds: float
    ticks: float
    tick_seconds: float  # Prometheus was asked
    looks: float
    look_seconds: float
    queries: float
    api_calls: float

    @classmethod
    def of(cls, operator: OperatorProcess) -> Counts:
        counts = operator.counts()
        return cls(
            cpu_seconds=operator.cpu_seconds(),
            ticks=counts["tick_seconds_count"],
            tick_seconds=counts["tick_seconds_sum"],
            looks=counts["reconcile_seconds_count"],
            look_seconds=counts["reconcile_seconds_sum"],
            queries=counts["queries_total"],
            api_calls=counts.get("api_calls_total", 0.0),
        )


@dataclass
class Health:
    """Asks ``/healthz`` again and again, and keeps how long each answer took: what the event loop
    was busy with in between, and this machine with others."""

    operator: OperatorProcess
    waits: list[float] = field(default_factory=list)  # seconds
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def share(self, of: float) -> float | None:
        """That quantile of the waits, in milliseconds."""
        ordered = sorted(self.waits)
        return 1000 * ordered[min(int(of * len(ordered)), len(ordered) - 1)] if ordered else None

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.operator.health_port, timeout=60)
        while not self._over.wait(ASK_SECONDS):
            begun = time.monotonic()
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/healthz")
                connection.getresponse().read()
                self.waits.append(time.monotonic() - begun)
                continue
            connection.close()


def watch(operator: OperatorProcess, seconds: float) -> list[Counts]:
    """The counts behind each tick that ends within ``seconds``; the first entry is before them."""
    seen = [Counts.of(operator)]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
        now = Counts.of(operator)
        if now.ticks > seen[-1].ticks:
            time.sleep(LOOK_SECONDS)  # the looks that it woke end
            seen.append(Counts.of(operator))
    return seen
