"""What is sent through every proxy, and the run of the load generator that sends it.

The requests look like an OpenAI client's; each body is unique, so that nothing can merge and every
cost is the hop's own.  The load generator (``load.c``) sends them as they stand in a file.
"""

from __future__ import annotations

import json
import math
import random
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

MARK = "@" * 16
"""The load generator puts digits here that no other request has."""

API_KEY = "sk-9f1c0a7be2d84356a1f7c3e95b20d8466e0b71"
"""Of nobody: LiteLLM wants one, and the others pass it on."""

ANSWER_CHARACTERS = 180  # which makes a JSON answer of about 800 bytes
EVENTS = 200  # of a streamed answer
_LENGTHS = 2048  # different requests of the varied shape

_HEAD = """\
POST /v1/chat/completions HTTP/1.1
Host: 127.0.0.1
Accept: application/json
Accept-Encoding: gzip, deflate
Connection: keep-alive
Content-Type: application/json
User-Agent: OpenAI/Python 2.8.1
X-Stainless-Lang: python
X-Stainless-Package-Version: 2.8.1
X-Stainless-OS: Linux
X-Stainless-Arch: x64
X-Stainless-Runtime: CPython
X-Stainless-Runtime-Version: 3.11.2
Authorization: Bearer {key}
X-Stainless-Async: false
x-stainless-retry-count: 0
x-stainless-read-timeout: 600
{more}Content-Length: {length}

"""

_SYSTEM = (
    "You are a careful assistant of a support team. Answer from the facts that you are given, in "
    "the customer's language, in at most three sentences, and say so when the facts do not settle "
    "the question. Never promise a date, a refund or a discount that the facts do not mention."
)
_QUESTION = (
    f"Ticket {MARK}: our order arrived on Tuesday with two of the five boxes missing. The tracking "
    "page says that all of them were delivered, and the carrier tells us to ask you. We need the "
    "parts for a customer of our own. What can you do for us, and by when will we know? We have "
    "attached the delivery note, the photographs of the pallet and the driver's signature. The "
    "first of the missing boxes holds the two pumps, the second the seals and the spare filter; "
    "the pumps are what we need most, and the seals are of no use without them."
)


class Shape(StrEnum):
    """How the requests of one run differ from each other, beside the body's unique digits."""

    PLAIN = "plain"  # one head for all: what a memory of heads likes best
    TRACED = "traceparent"  # a header that no other request has: what it likes least
    VARIED = "varied"  # bodies and answers of many lengths
    STREAM = "stream"
    HELD = "held"  # never answered


def body(shape: Shape, extra: int = 0, answer: int = ANSWER_CHARACTERS) -> bytes:
    """``extra`` characters more, or fewer, than the usual question."""
    question = _QUESTION
    if extra > 0:
        question += (" " + _SYSTEM) * (extra // len(_SYSTEM) + 1)
    question = question[: max(len(f"Ticket {MARK}:"), len(_QUESTION) + extra)]
    fields: dict[str, object] = {
        "model": "model",
        "messages": [
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": question},
        ],
        "max_tokens": {Shape.STREAM: EVENTS, Shape.HELD: 0}.get(shape, answer),
        "temperature": 0,
    }
    if shape is Shape.STREAM:
        fields["stream"] = True
    return json.dumps(fields, separators=(",", ":")).encode()


def request(shape: Shape, extra: int = 0, answer: int = ANSWER_CHARACTERS) -> bytes:
    """One whole request with its marks."""
    content = body(shape, extra, answer)
    more = f"traceparent: 00-{MARK}{MARK}-{MARK}-01\n" if shape is Shape.TRACED else ""
    head = _HEAD.format(more=more, key=API_KEY, length=len(content)).replace("\n", "\r\n")
    return head.encode() + content


def requests(shape: Shape) -> list[bytes]:
    """What one run sends in turn.  Varied lengths are log-normal around the usual one, seeded."""
    if shape is not Shape.VARIED:
        return [request(shape)]
    dice = random.Random(4)  # the same lengths in every run
    usual = len(_QUESTION)
    return [
        request(
            shape,
            extra=min(6000, int(dice.lognormvariate(math.log(usual), 0.8))) - usual,
            answer=min(4000, int(dice.lognormvariate(math.log(ANSWER_CHARACTERS), 0.8))),
        )
        for _ in range(_LENGTHS)
    ]


def write(path: Path, messages: Sequence[bytes]) -> Path:
    path.write_bytes(b"".join(struct.pack("=I", len(one)) + one for one in messages))
    return path


@dataclass(frozen=True, slots=True)
class Sent:
    """What one run of the load generator saw."""

    requests: int
    seconds: float
    wrong: int  # not 200, or another request's answer
    failed: int  # the connection closed instead of an answer
    unanswered: int
    reconnected: int
    events: int
    reads: int
    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def errors(self) -> int:
        return self.wrong + self.failed


class Load:
    """The compiled load generator, pinned to one core; its requests lie in ``folder``."""

    def __init__(self, program: Path, folder: Path, core: int) -> None:
        self._argv = ["taskset", "--cpu-list", str(core), str(program)]
        self._files = {
            shape: write(folder / f"{shape}.requests", requests(shape)) for shape in Shape
        }

    def argv(
        self,
        port: int,
        shape: Shape,
        connections: int,
        seconds: float,
        rate: float = 0,
        grace_seconds: float = 30,
    ) -> list[str]:
        numbers = [str(number) for number in (connections, seconds, rate, grace_seconds)]
        return [*self._argv, str(port), str(self._files[shape]), *numbers]

    def send(
        self, port: int, shape: Shape, connections: int, seconds: float, rate: float = 0
    ) -> Sent:
        """``rate`` 0: closed loop; else requests per second, whatever the answers do."""
        done = subprocess.run(
            self.argv(port, shape, connections, seconds, rate),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 60,
        )
        if done.returncode:
            raise RuntimeError(f"the load generator failed: {done.stderr.strip()}")
        sent = Sent(**json.loads(done.stdout))
        if sent.errors or not sent.requests:
            raise RuntimeError(f"{sent.errors} errors, {sent.requests} answers: {done.stderr}")
        return sent
