"""The measured runs, in turns: each round runs every proxy once, so that a slow minute of the
machine is shared by all, and ratios are taken within a round.

CPU time is /proc's, in ticks of 10 ms: it is summed over all rounds before it is divided.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.hop.proxies import Hop
from bench.hop.traffic import Load, Sent, Shape

CONNECTIONS = 32
RATE = 200.0  # requests per second of the open loop
HELD = 1000  # requests in flight for memory's sake
HELD_SECONDS = 20  # at most, until all of them have reached the engine


@dataclass
class Runs:
    """All runs of one proxy with one kind of load, one per round."""

    sent: list[Sent] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def add(self, sent: Sent, cpu_seconds: float) -> None:
        self.sent.append(sent)
        self.cpu_seconds += cpu_seconds

    @property
    def per_second(self) -> float:
        return self.middle(lambda sent: sent.per_second)

    @property
    def busy_percent(self) -> float:
        """Of the proxy's core."""
        return 100 * self.cpu_seconds / sum(sent.seconds for sent in self.sent)

    @property
    def cpu_us_per_request(self) -> float:
        return 1e6 * self.cpu_seconds / sum(sent.requests for sent in self.sent)

    @property
    def cpu_us_per_event(self) -> float:
        return 1e6 * self.cpu_seconds / sum(sent.events for sent in self.sent)

    @property
    def events_per_read(self) -> float:
        """Near 1: each event travelled alone; above: the proxy made larger pieces of them."""
        return sum(sent.events for sent in self.sent) / sum(sent.reads for sent in self.sent)

    def ratio(self, other: Runs) -> float:
        """Of throughputs, within each round; their median."""
        return median(self.ratios(other))

    def ratios(self, other: Runs) -> list[float]:
        pairs = zip(self.sent, other.sent, strict=True)
        return [mine.per_second / theirs.per_second for mine, theirs in pairs]

    def above(self, other: Runs, figure: Callable[[Sent], float]) -> float:
        """Difference of a figure, within each round; their median."""
        pairs = zip(self.sent, other.sent, strict=True)
        return median(figure(mine) - figure(theirs) for mine, theirs in pairs)

    def middle(self, figure: Callable[[Sent], float]) -> float:
        return median(figure(sent) for sent in self.sent)


Results = dict[str, Runs]
"""By the proxy's name; one that failed is missing."""


class Rounds:
    """Runs every kind of load against every proxy.  ``failures`` says who failed and how: one
    proxy's failure must not cost the others their figures."""

    def __init__(self, load: Load, rounds: int) -> None:
        self.failures: list[str] = []
        self._load = load
        self.rounds = rounds

    def throughput(
        self, hops: Sequence[Hop], shape: Shape, seconds: float, warm_seconds: float
    ) -> Results:
        """Closed loop.  A short run comes first, for connections and whatever warms up."""
        self._in_turns(hops, 1, self._closed(shape, CONNECTIONS, warm_seconds))
        return self._in_turns(hops, self.rounds, self._closed(shape, CONNECTIONS, seconds))

    def alone(self, hops: Sequence[Hop], seconds: float) -> Results:
        """One connection: what one request waits for the hop when nothing else is there."""
        return self._in_turns(hops, self.rounds, self._closed(Shape.PLAIN, 1, seconds))

    def latency(self, hops: Sequence[Hop], seconds: float) -> Results:
        """Open loop at RATE, counted from when each request was due."""

        def run(hop: Hop) -> Sent:
            return self._load.send(hop.port, Shape.PLAIN, CONNECTIONS, seconds, RATE)

        return self._in_turns(hops, self.rounds, run)

    def streaming(self, hops: Sequence[Hop], seconds: float, slow: Sequence[str]) -> Results:
        """Events come one at a time; ``slow`` proxies get one stream, so that they keep up and
        events do not pile into one read."""

        def run(hop: Hop) -> Sent:
            streams = 1 if hop.name in slow else CONNECTIONS
            return self._load.send(hop.stream_port, Shape.STREAM, streams, seconds)

        return self._in_turns(hops, self.rounds, run)

    def bytes_in_flight(self, hop: Hop) -> float | None:
        """Memory that the proxy takes for one more request under way, its body and both
        connections included; None where there is no proxy."""
        if hop.process is None:
            return None
        before, files = hop.process.rss_bytes(), hop.process.open_files()
        argv = self._load.argv(hop.port, Shape.HELD, HELD, HELD_SECONDS, grace_seconds=0)
        load = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:  # two connections for each, less a few that were open before
            while hop.process.open_files() - files < 2 * HELD * 0.98:
                if load.poll() is not None:
                    self.failures.append(f"{hop.name} did not send {HELD} requests on at once.")
                    return None
                time.sleep(0.05)
            time.sleep(0.2)
            return (hop.process.rss_bytes() - before) / HELD
        finally:
            load.kill()
            load.wait()

    def _closed(self, shape: Shape, connections: int, seconds: float) -> Callable[[Hop], Sent]:
        return lambda hop: self._load.send(hop.port, shape, connections, seconds)

    def _in_turns(self, hops: Sequence[Hop], rounds: int, run: Callable[[Hop], Sent]) -> Results:
        """Every round begins with another proxy than the one before."""
        results: Results = {hop.name: Runs() for hop in hops}
        for number in range(rounds):
            first = number % len(hops)
            for hop in (*hops[first:], *hops[:first]):
                if hop.name not in results:
                    continue
                before = cpu_seconds(hop)
                try:
                    sent = run(hop)
                except RuntimeError as error:
                    self.failures.append(f"{hop.name} failed: {error}")
                    del results[hop.name]
                    continue
                results[hop.name].add(sent, cpu_seconds(hop) - before)
        return results


def cpu_seconds(hop: Hop) -> float:
    return hop.process.cpu_seconds() if hop.process else 0.0
