"""batchfleet's own policy: ``autoscale.decide`` itself, with a memory like the operator's."""

from __future__ import annotations

from collections import deque

from batchfleet_operator.api.autoscaling import Autoscaling
from batchfleet_operator.api.status import Scaling
from batchfleet_operator.metering.signals import Signals
from batchfleet_operator.scaling import autoscale
from batchfleet_operator.simulate.fleet import Fleet
from batchfleet_operator.simulate.meter import Meter, moment

TICK_SECONDS = 15.0
MARGIN_SECONDS = 120.0
"""More than the window that ``decide`` looks back over: its first look must be older."""


class Batchfleet:
    """``status.scaling`` between looks, and the signals that the sampler would keep."""

    tick_seconds = TICK_SECONDS

    def __init__(self, policy: Autoscaling, start_replicas: int) -> None:
        self._policy = policy
        self._start = start_replicas
        seconds = autoscale.window_seconds(policy) + MARGIN_SECONDS
        self._signals: deque[Signals] = deque(maxlen=int(seconds / TICK_SECONDS))
        self._starts: deque[autoscale.Start] = deque(maxlen=100)
        self._since = moment(0)
        self.scaling: Scaling | None = None
        self.last: autoscale.Decision | None = None
        self.acting = False  # an alert action is under way
        self.floor: tuple[int, str] | None = None  # of a ScaleOut action: replicas, until

    @property
    def max_replicas(self) -> int:
        return self._policy.max_replicas

    def look(self, fleet: Fleet, meter: Meter, now: float) -> int:
        self._signals.append(meter.signals(now))
        if self.scaling is not None and self.floor is not None:
            floor, until = self.floor
            self.scaling = self.scaling.model_copy(
                update={"floor_replicas": floor, "floor_until": until}
            )
        ready = len(fleet.serving)
        capacity = autoscale.Capacity(
            asked=fleet.asked,
            ready=ready,
            pending=max(fleet.asked - ready, 0),
            batch_size=fleet.limit,
            rolling=False,
            acting=self.acting,
            starts=_starts(fleet),
            refused=None if fleet.lets_in else "simulated: a quota is reached",
        )
        self.last = autoscale.decide(
            self._policy,
            tuple(self._signals),
            capacity,
            self.scaling,
            self._start,
            self._since,
            moment(now),
        )
        self.scaling = self.last.scaling
        return self.last.replicas


def _starts(fleet: Fleet) -> list[autoscale.Start]:
    """As the operator reads them off the pods; those that the run began with were always there."""
    return [
        autoscale.Start(
            moment(pod.created), None if pod.ready_since is None else moment(pod.ready_since)
        )
        for pod in fleet.pods.values()
        if pod.created > 0
    ]
