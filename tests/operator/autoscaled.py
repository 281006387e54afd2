"""A fleet whose size is decided look by look, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from batchfleet_operator.api.autoscaling import Autoscaling
from batchfleet_operator.api.status import Scaling
from batchfleet_operator.conditions import time
from batchfleet_operator.metering.signals import MetricsState, Signals
from batchfleet_operator.observed import parse_time
from batchfleet_operator.scaling.autoscale import Capacity, Decision, Start, decide

BATCH = 64
BEGIN = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
TICK_SECONDS = 15
REMEMBERED = 130


def policy(**fields: Any) -> Autoscaling:
    """As in a spec, with a maximum of 20."""
    return Autoscaling.parse({"maxReplicas": 20, **fields})


def signal(
    at: datetime, state: MetricsState = "Found", message: str = "", **values: Any
) -> Signals:
    """Nothing is known but ``values``."""
    return Signals(at=at, state=state, message=message, **values)


def busy(
    rate: float,
    pods: int,
    completed: float | None = None,
    queued: float = 0.0,
    slope: float = 0.0,
    **values: float,
) -> Signals:
    """A fleet of ``pods`` that answers ``rate`` requests a second."""
    known: dict[str, Any] = {
        "fresh_pods": pods,
        "offered_per_second": rate,
        "offered_slope": slope,
        "completed_per_second": rate if completed is None else completed,
        "in_flight": 32.0 * rate,
        "queued": queued,
    }
    return signal(BEGIN, **(known | values))


class Fleet:
    """Pods start at once, unless ``fixed`` says that the test chooses what is there."""

    def __init__(self, wanted: Autoscaling, start: int) -> None:
        self.policy = wanted
        self.start = start
        self.now = BEGIN
        self.watched_since: datetime | None = BEGIN
        self.signals: list[Signals] = []
        self.scaling: Scaling | None = None
        self.last: Decision | None = None
        self.asked = self.ready = start
        self.pending = 0
        self.batch_size: int | None = BATCH
        self.rolling = self.acting = self.fixed = False
        self.refused: str | None = None
        self.paused: str | None = None
        self.starts: Sequence[Start] = ()

    def look(self, seen: Signals | None = None, after: float = 0) -> Decision:
        """A tick ``after`` seconds later that saw ``seen``; None: a quiet fleet."""
        self.now += timedelta(seconds=after)
        quiet = busy(rate=0.0, pods=self.ready)
        self.signals.append(replace(quiet if seen is None else seen, at=self.now))
        del self.signals[:-REMEMBERED]
        return self.look_again()

    def look_again(self, after: float = 0) -> Decision:
        """Without a tick."""
        self.now += timedelta(seconds=after)
        capacity = Capacity(
            asked=self.asked,
            ready=self.ready,
            pending=self.pending,
            batch_size=self.batch_size,
            rolling=self.rolling,
            acting=self.acting,
            starts=self.starts,
            refused=self.refused,
            paused=self.paused,
        )
        self.last = decide(
            self.policy,
            self.signals,
            capacity,
            self.scaling,
            self.start,
            self.watched_since,
            self.now,
        )
        # Through JSON, as it goes through the API server.
        self.scaling = Scaling.parse(self.last.scaling.as_json())
        self.asked = self.last.replicas
        if not self.fixed:
            self.ready = self.asked
        return self.last

    def run(self, seen: Sequence[Signals]) -> list[int]:
        """A tick for each; the sizes."""
        return [self.look(each, after=TICK_SECONDS).replicas for each in seen]

    def at(self, moment: str) -> None:
        self.now = parse_time(moment)
        self.watched_since = self.now

    def floor(self, replicas: int, seconds: float) -> None:
        """What a ScaleOut action leaves in the status."""
        assert self.scaling is not None
        until = time(self.now + timedelta(seconds=seconds))
        self.scaling = self.scaling.model_copy(
            update={"floor_replicas": replicas, "floor_until": until}
        )
