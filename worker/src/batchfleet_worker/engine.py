"""Is the engine alive, and is it still the same one?  A judgement over samples, without I/O.

``/health`` alone cannot tell: it is 200 while an engine hangs, and times out while one is merely
busy.  So life is progress: the engine's count of iterations moves, or there is nothing to do.  An
engine that publishes no such count is taken by its health.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from batchfleet_worker.adaptive import NOTHING, Signals
from batchfleet_worker.vitals import Vitals, between


class Health(Enum):
    OK = auto()
    FAILING = auto()  # answered with a server error
    SLOW = auto()  # no answer in time: perhaps only busy
    REFUSED = auto()  # nobody listens


@dataclass(frozen=True, slots=True)
class Sample:
    health: Health
    vitals: Vitals | None = None  # None: the metrics could not be had


class Change(Enum):
    NONE = auto()
    WENT = auto()  # it was up and nobody listens any more
    CAME_BACK = auto()  # another process answers than before


class Engine:
    """The engine as its samples show it.  ``now`` is monotonic seconds.

    ``signals``: what the last sample showed beside the one before.
    """

    def __init__(self, stall_seconds: float) -> None:
        self.restarts = 0
        self.signals: Signals = NOTHING
        self._stall_seconds = stall_seconds
        self._health: Health | None = None
        self._vitals: Vitals | None = None  # the last that could be had from this process
        self._progress_at = 0.0
        self._up = False
        self._known = False  # it has been up at some time

    def observe(self, sample: Sample, now: float) -> Change:
        self._health = sample.health
        self.signals = NOTHING
        was_up, self._up = self._up, sample.health is not Health.REFUSED
        if not self._up:
            self._vitals = None
            return Change.WENT if was_up else Change.NONE
        first, self._known = not self._known, True
        came_back = (not first and not was_up) or self._is_another(sample.vitals)
        if came_back:
            self.restarts += 1
            self._vitals = None
        if first or came_back or self._progressed(sample):
            self._progress_at = now
        if sample.vitals is not None:
            self.signals = between(self._vitals, sample.vitals)
            self._vitals = sample.vitals
        return Change.CAME_BACK if came_back else Change.NONE

    def ill(self, now: float) -> str:
        """Why the engine is not alive; empty while it is."""
        match self._health:
            case None:
                return "the engine has not been asked yet"
            case Health.REFUSED:
                return "the engine does not accept connections"
            case Health.FAILING:
                return "the engine's /health reports a failure"
        idle_seconds = now - self._progress_at
        if idle_seconds > self._stall_seconds:
            return f"the engine has made no progress for {idle_seconds:.0f} s"
        return ""

    def _is_another(self, vitals: Vitals | None) -> bool:
        """A counter that went back, or a process that started later: a restart between samples."""
        last = self._vitals
        if vitals is None or last is None:
            return False
        if vitals.started is not None and last.started is not None:
            return vitals.started != last.started
        return (vitals.iterations or 0.0) < (last.iterations or 0.0)

    def _progressed(self, sample: Sample) -> bool:
        last, vitals = self._vitals, sample.vitals
        if vitals is not None and vitals.iterations is not None:
            if not vitals.busy:
                return True
            return last is None or vitals.iterations != last.iterations
        # Without a heartbeat its health has to do, unless it has one that we could not read now.
        heartbeat = last is not None and last.iterations is not None
        return sample.health is Health.OK and not heartbeat
