"""Load from inside the cluster: where clients are, and where no port-forward can break.

A client pod in the test's namespace runs ``client.py`` in the worker image (it has Python and
aiohttp).  Each load is one ``kubectl exec``; closing its standard input ends it, and its standard
output is the account of every single request.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from e2e.support import program
from e2e.support.kube import Kube, KubeError

PROGRAM = Path(__file__).with_name("client.py")
POD = "clients"


@dataclass(frozen=True)
class Ramp:
    """Requests per second that grow from ``first`` to ``last``, and stay there until stopped."""

    first: float
    last: float
    over_seconds: float


@dataclass(frozen=True)
class Load:
    """Some clients, each with one connection, each asking one thing after the other.

    With ``ramp`` every request is a client of its own, and none waits for another's answer.
    """

    url: str
    model: str
    clients: int
    requests: int = 1  # of each client; 0: until stopped
    stream: Literal["always", "never", "mixed"] = "never"
    question: str = "Why is the sky blue?"
    unique: bool = False  # every request asks something that nobody else asks
    salt: str = ""  # keeps the unique questions of two loads apart
    max_tokens: int = 16
    pause_seconds: float = 0.0
    timeout_seconds: float = 60.0
    headers: Mapping[str, str] = field(default_factory=dict)
    ramp: Ramp | None = None
    # More fields of the body; by default every answer has all of its max_tokens.
    extra: Mapping[str, Any] = field(default_factory=lambda: {"ignore_eos": True})


def steady(url: str, model: str, per_second: float, **more: Any) -> Load:
    """Requests that reach every pod: each has a connection of its own."""
    ramp = Ramp(per_second, per_second, over_seconds=1)
    return Load(url, model, 1, unique=True, ramp=ramp, **more)


@dataclass(frozen=True)
class Answer:
    """How one request ended; the outcomes are explained in client.py."""

    client: int
    at_seconds: float  # when it was asked, since the load began
    question: str
    streamed: bool
    outcome: Literal["complete", "refused", "lost"]
    why: str
    text: str
    status: int
    headers: Mapping[str, str]
    first_byte_seconds: float
    seconds: float

    @property
    def joined(self) -> bool:
        """Whether the sidecar said that this answer is another request's."""
        return self.headers.get("x-batchfleet-result") == "joined"


@dataclass(frozen=True)
class Account:
    """Every request of a load."""

    seconds: float
    answers: Sequence[Answer]

    @property
    def failures(self) -> list[str]:
        """One line for each request that has no complete answer."""
        bad = (one for one in self.answers if one.outcome != "complete")
        return [
            f"client {one.client} at {one.at_seconds:.2f} s: {one.outcome}: {one.why}"
            for one in bad
        ]

    @property
    def joined(self) -> int:
        return sum(one.joined for one in self.answers)


def start_clients(kube: Kube, image: str) -> None:
    """The pod from which the namespace's loads come; done when it runs."""
    kube.delete("pod", POD, wait=True)  # an earlier run's may have another program
    kube.apply(*program.objects(POD, PROGRAM, image, ["sleep", "infinity"]))
    program.wait_running(kube, POD)


class Running:
    """A load that is under way."""

    def __init__(self, process: subprocess.Popen[str], timeout_seconds: float) -> None:
        self._process = process
        self._timeout_seconds = timeout_seconds

    def stop(self) -> Account:
        """Let every client finish what it asked, and take the account."""
        try:
            out, said = self._process.communicate(timeout=self._timeout_seconds + 30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise
        if self._process.returncode != 0:
            raise KubeError(f"the clients ended with {self._process.returncode}: {said[-2000:]}")
        return _account(out)

    def abandon(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def running(kube: Kube, load: Load) -> Iterator[Running]:
    """The load, from its first request on; ``stop`` ends it, leaving the block abandons it."""
    process = kube.start("exec", "-i", POD, "--", *_command(load))
    under_way = Running(process, load.timeout_seconds)
    try:
        assert process.stderr is not None
        if process.stderr.readline().strip() != "started":
            under_way.stop()  # raises with what the program said
        yield under_way
    finally:
        under_way.abandon()


def ask(kube: Kube, load: Load) -> Account:
    """A load of a fixed number of requests, to its end."""
    return _account(
        kube.run("exec", POD, "--", *_command(load), timeout_seconds=load.timeout_seconds + 300)
    )


def ask_within(kube: Kube, pod_name: str, container: str, load: Load) -> Account:
    """The same from inside another pod's container, which needs nothing but Python and aiohttp."""
    described = json.dumps(asdict(load))
    command = ("exec", "-i", pod_name, "-c", container, "--", "python3", "-", described)
    return _account(
        kube.run(*command, stdin=PROGRAM.read_text(), timeout_seconds=load.timeout_seconds + 300)
    )


def _command(load: Load) -> tuple[str, ...]:
    return ("python3", f"/program/{PROGRAM.name}", json.dumps(asdict(load)))


def _account(text: str) -> Account:
    document = json.loads(text)
    return Account(document["seconds"], [Answer(**one) for one in document["answers"]])
