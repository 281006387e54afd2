"""The limit that finds itself: as many calls as keep the mean gap between tokens at its target.

``Admission.tick`` feeds it every half second with what the engine said of itself.  Pure: numbers
in, a number out, no clock of its own, so that it can be simulated (tests/worker/test_adaptive.py).

The gap is the signal because it is what batching costs: throughput rises with every call that runs
beside others, and the gap with it.  Controllers that watch queueing or latency take the useful part
of that rise for congestion and stay at a third of the goodput (docs/decisions/0010).

    climbing: 0.8 of the room ──little room, or a cut──► tending: 0.4 of it, x 0.8 above the target

Room is how many more calls the gap allows, as a share of those there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

START = 8
"""Calls at first: few enough for a CPU, and five doublings from what a large GPU takes."""

AIM = 0.93
"""Of the way from the lone gap to the target, which is as much of the calls that would fill it: the
rest is a band in which nothing changes, so that a steady load sees no cuts."""

AIM_MOST = 0.975  # of the target: however high the lone gap is, the band is not all noise

CLIMB_SHARE, CLIMB_UNTIL = 0.8, 0.1
"""Of the room, in one step (twice the limit at most); and the smallest such step, of the limit."""

TEND_SHARE, TEND_MOST = 0.4, 0.1  # of the room; of the limit
CUT = 0.8
BELIEVED = 2  # windows in a row above the target: one is a long prompt, or an unlucky draw

USED = 0.7
"""Of the limit, for it to grow: what is not used says nothing about more of it.  Below the share
that batch traffic may fill, or a quarter of the engine would be idle under batch traffic alone."""

SLACK = 3
"""Calls above what the engine runs at once: so that it never waits for the hop to fill a place."""

KV_FULL = 0.95
"""Of the KV cache, with calls waiting for it: the next step is preemption."""

SETTLE_WINDOWS = 2
"""After a change the first window still holds tokens from before; a cut is judged by the second."""

FALLEN = 0.9
"""Of the calls at the cut: from there on it works.  Traffic with a share of its own (batch) stands
below the limit, so that the limit alone does not tell."""

PATIENCE = 20  # windows for that; then calls that came took the place of those that ended

NOT_LOWERED = 0.97
"""A cut to 0.8 that leaves more than this of the gap did nothing for it: it is undone."""

LEARNT_WINDOWS = 240  # two minutes: after that what was learnt of the engine is tried again

_FORGET = 0.97  # of the fit, per window: half is gone after 12 s


class Cause(StrEnum):
    """Why the limit was cut; the label of ``batchfleet_limit_cuts_total``."""

    GAP = "gap"  # tokens came too slowly
    REFUSED = "refused"  # the engine answered 429 or 503, or let calls time out
    PREEMPTION = "preemption"  # the engine threw out calls it had begun
    CACHE = "cache"  # its KV cache was full and calls waited for it
    QUEUE = "queue"  # calls waited inside the engine, behind its own limit


@dataclass(frozen=True, slots=True)
class Signals:
    """What the engine showed since the last look; None: it does not say."""

    gap_seconds: float | None = None  # mean, between the tokens of a stream
    running: float | None = None  # calls that the engine works on
    waiting: float | None = None  # calls that wait inside it
    kv_usage: float | None = None  # of its KV cache, 0 to 1
    preempted: float = 0  # calls, since the last look
    most_running: int | None = None  # the engine's own limit (max_num_seqs)


NOTHING = Signals()


class _Fit:
    """gap = lone + slope x calls, by least squares over what was seen lately."""

    def __init__(self) -> None:
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def add(self, calls: float, gap_seconds: float) -> None:
        keep = _FORGET
        self._weight = self._weight * keep + 1
        self._x = self._x * keep + calls
        self._y = self._y * keep + gap_seconds
        self._xx = self._xx * keep + calls * calls
        self._xy = self._xy * keep + calls * gap_seconds

    def line(self) -> tuple[float, float] | None:
        """(lone, slope); None: too few different points, or one that falls."""
        if self._weight < 2.5:  # three windows
            return None
        mean = self._x / self._weight
        spread = self._xx / self._weight - mean * mean
        if spread < max(0.25, (0.05 * mean) ** 2):
            return None
        slope = (self._xy / self._weight - mean * self._y / self._weight) / spread
        lone = self._y / self._weight - slope * mean
        return (max(0.0, lone), slope) if slope > 0 else None


class AdaptiveLimit:
    """``limit``: from 1 to ``ceiling``, not below ``floor``, under which a cut was of no use."""

    def __init__(self, target_seconds: float, most: int | None) -> None:
        """``most``: the service's own ceiling (maxBatchSize); None: the engine's, as it says."""
        self.most = most
        self.target_seconds = target_seconds
        self.forget()

    def forget(self) -> None:
        """Another engine: nothing learnt holds."""
        self.ceiling: float = math.inf if self.most is None else self.most
        self.limit = int(min(START, self.ceiling))
        self.floor = 1
        self.climbing = True
        self._fit = _Fit()
        self._least: float = math.inf  # gap seen
        self._out_of_reach = False
        self._lone_seconds: float | None = None  # where the fit says nothing: a gap without slope
        self._settling = 0  # windows until the last change is judged
        self._before_cut: tuple[int, float, int] | None = None  # limit, gap, calls
        self._patience = 0
        self._floor_windows = 0
        self._found: float = math.inf  # the engine's own limit, as its waiting calls showed it
        self._found_windows = 0
        self._over = 0  # windows in a row with a gap above the target
        self._crowded = 0  # windows in a row with calls waiting inside the engine

    def change(self, target_seconds: float, most: int | None) -> None:
        """New settings; what was learnt of the engine stays."""
        self.target_seconds, self.most = target_seconds, most
        self._bound(None)

    def target(self) -> float:
        """Seconds.  An engine that does not reach the target alone is asked for twice its lone gap:
        without that it would be held at one call, slow and idle."""
        line = self._fit.line()
        lone = self._lone_seconds if line is None else line[0]
        if lone is None:
            return self.target_seconds
        was, reach = self._out_of_reach, 0.8 if self._out_of_reach else 1.0
        self._out_of_reach = lone > reach * self.target_seconds
        if self._out_of_reach and not was:
            self.climbing = True  # what was cut for the other target was cut for nothing
        return 2 * lone if self._out_of_reach else self.target_seconds

    def step(self, signals: Signals, in_flight: int, refused: int = 0) -> Cause | None:
        """One window.  ``refused``: calls that the engine turned away in it.  Why it was cut."""
        self._bound(signals.most_running)
        if self._floor_windows:
            self._floor_windows -= 1
            if not self._floor_windows:
                self.floor = 1
        if self._found_windows:
            self._found_windows -= 1
            if not self._found_windows:
                self._found = math.inf
        gap = signals.gap_seconds
        busy = signals.running if signals.running is not None else in_flight
        if gap is not None and busy:
            self._least = min(self._least, gap)
            self._fit.add(busy, gap)
        if gap is not None and gap <= self.target_seconds:
            self._lone_seconds = None
        trouble = self._trouble(signals, refused)
        if self._settling:
            self._settle(gap, in_flight)
            return None
        if in_flight > self.limit and (trouble is not None or gap is None or gap > self.target()):
            return None  # an earlier cut has still to work
        if trouble is not None:
            self._crowded = 0
            to = self.limit * CUT
            if trouble is Cause.QUEUE and signals.running is not None:
                to = min(self.limit - 1, signals.running + SLACK)
                self._found, self._found_windows = max(1, int(to)), LEARNT_WINDOWS
            return self._cut(trouble, to, None, in_flight)
        if gap is None or in_flight < self.limit / 2:
            return None
        target = self.target()
        self._over = self._over + 1 if gap > target else 0
        if gap > target:
            if self._over < BELIEVED or self.limit <= self.floor:
                return None
            return self._cut(Cause.GAP, self.limit * CUT, gap, in_flight)
        self._grow(gap, target, in_flight, signals)
        return None

    # --- inside ----------------------------------------------------------------------------

    def _trouble(self, signals: Signals, refused: int) -> Cause | None:
        """Reasons to cut that need no gap."""
        waiting = signals.waiting or 0
        if refused:
            return Cause.REFUSED
        if signals.preempted > 0:
            return Cause.PREEMPTION
        if waiting and signals.kv_usage is not None and signals.kv_usage > KV_FULL:
            return Cause.CACHE
        # A burst waits for its prompts to be read; what waits on is behind the engine's own limit.
        self._crowded = self._crowded + 1 if waiting > SLACK else 0
        if self._crowded > 2 * SETTLE_WINDOWS and signals.running is not None:
            return Cause.QUEUE
        return None

    def _cut(self, cause: Cause, to: float, gap: float | None, in_flight: int) -> Cause | None:
        self.climbing = False
        before = self.limit
        self.limit = max(self.floor, 1, min(before - 1, int(to)))
        if self.limit == before:
            return None
        self._before_cut = None if gap is None else (before, gap, in_flight)
        self._patience = PATIENCE
        self._settling = SETTLE_WINDOWS
        return cause

    def _settle(self, gap: float | None, in_flight: int) -> None:
        cut = self._before_cut
        fallen = cut is not None and in_flight <= FALLEN * cut[2]
        if cut is not None and (in_flight > self.limit or (not fallen and self._patience)):
            self._patience = max(0, self._patience - 1)
            return  # the cut has not begun to work: calls end on their own
        self._settling -= 1
        if self._settling or cut is None:
            return
        before, gap_before, _ = cut
        self._before_cut = None
        in_force = in_flight >= self.limit / 2 and fallen
        if gap is not None and in_force and gap > NOT_LOWERED * gap_before:
            self.limit = self.floor = int(min(before, self.ceiling))
            self._lone_seconds = gap
            self._floor_windows = LEARNT_WINDOWS

    def _grow(self, gap: float, target: float, in_flight: int, signals: Signals) -> None:
        if (signals.waiting or 0) > SLACK or in_flight < USED * self.limit:
            return
        room = self._room(gap, target)
        if self.climbing and CLIMB_SHARE * room > CLIMB_UNTIL:
            share = min(1.0, CLIMB_SHARE * room)
        else:
            self.climbing = False
            share = min(TEND_MOST, TEND_SHARE * room)
        if self.limit * room < 1:
            return
        step = max(1, int(self.limit * share))
        raised = int(min(self.limit + step, self.ceiling, self._found))
        if raised > self.limit:
            self.limit = raised
            self._settling = 1 if self.climbing else 0

    def _room(self, gap: float, target: float) -> float:
        """Calls that may be added, as a share of those there are."""
        line = self._fit.line()
        lone = self._least if line is None else min(self._least, line[0])
        aim = min(lone + AIM * (target - lone), AIM_MOST * target)
        if gap >= aim:
            return 0.0
        return (aim - gap) / (gap - lone) if gap > lone else math.inf

    def _bound(self, most_running: int | None) -> None:
        if self.most is not None:
            self.ceiling = self.most
        elif most_running is not None:
            self.ceiling = most_running + SLACK
        self.floor = int(min(self.floor, self.ceiling))
        self.limit = int(max(self.floor, min(self.limit, self.ceiling)))
