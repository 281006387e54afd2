"""What is asked, and the one true answer to it.

The simulator's text is a pure function of the prompt, so a :class:`Question` knows what it must be
answered before it is sent.  A few subjects come again and again (a Zipf law), which is what merging
lives on; the others come once.  The same subject is asked in several forms, streamed or not, with
its fields in another order, by several tenants: these may share an engine call or must not, and
the true answer says the same either way.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from itertools import accumulate, count
from typing import Any

from batchfleet_worker.simulator import Settings, asked_hash, caller_hash
from batchfleet_worker.simulator.answers import ChatShape, CompletionShape
from batchfleet_worker.simulator.asked import ask
from batchfleet_worker.simulator.protocol import Chat, Completion, sized
from batchfleet_worker.simulator.text import count as tokens_of

MODEL = "simulated"
MAX_MODEL_LEN = 131_072
"""Long enough for a prompt of more bytes than the sidecar merges (256 KiB)."""
HOT_SUBJECTS = 40
FRAGILE = "fragile"  # the word in a prompt that the weather's faults are meant for
LONG_HOT = (8,)  # among the hot subjects, these have long answers
LONG_TOKENS = 900  # an answer of about 300 KB in events: more than sockets hold


class Manner(Enum):
    """How a client behaves while it is answered."""

    PATIENT = auto()
    LEAVES_SENDING = auto()  # in the middle of its own request
    LEAVES_WAITING = auto()  # at a random moment, before or in the answer
    LEAVES_READING = auto()  # after the first bytes of the answer
    SLOW = auto()  # takes its answer in sips
    STUCK = auto()  # takes nothing for seconds, then all


LONG_MANNERS = (Manner.PATIENT, Manner.PATIENT, Manner.SLOW, Manner.STUCK, Manner.LEAVES_READING)
LEAVING = frozenset({Manner.LEAVES_SENDING, Manner.LEAVES_WAITING, Manner.LEAVES_READING})


@dataclass(frozen=True, slots=True)
class Expected:
    """The choices' texts, why each ended, and what was counted."""

    texts: tuple[str, ...]
    finish_reasons: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Question:
    """One request, ready to send."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    status: int  # where nothing goes wrong
    expected: Expected | None  # of a completion; None: another path, or an error
    asked: str  # the simulator's hashes
    caller: str
    stream: bool = False
    wants_usage: bool = False
    may_share: bool = False  # an equal one's engine call
    fresh: bool = False  # not from a cache
    chunked: bool = False  # sends its body in chunks
    manner: Manner = Manner.PATIENT

    def head(self) -> bytes:
        lines = [b"%b %b HTTP/1.1\r\nhost: bench\r\n" % (self.method, self.target)]
        lines += [b"%b: %b\r\n" % header for header in self.headers]
        if self.chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        elif self.body:
            lines.append(b"content-length: %d\r\n" % len(self.body))
        lines.append(b"\r\n")
        return b"".join(lines)

    def wire(self) -> bytes:
        """The whole request as bytes."""
        if not self.chunked:
            return self.head() + self.body
        middle = len(self.body) // 2
        parts = [part for part in (self.body[:middle], self.body[middle:]) if part]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        return self.head() + chunks + b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Subject:
    """What several requests ask alike: path, fields of the body, and the answer."""

    target: bytes
    fields: dict[str, Any]
    status: int
    expected: Expected | None
    may_share: bool


class Questions:
    """An endless, reproducible supply."""

    def __init__(self, seed: int, tenants: int = 3) -> None:
        self._chance = random.Random(seed)
        self._seed = seed
        self._numbers = count(HOT_SUBJECTS)
        self._weights = tuple(accumulate(1 / rank for rank in range(1, HOT_SUBJECTS + 1)))
        self._hot = range(HOT_SUBJECTS)
        self._tenants = tuple(b"Bearer tenant-%d" % number for number in range(tenants))

    def next(self) -> Question:
        chance = self._chance
        draw = chance.random()
        if draw < 0.03:
            return self._read(b"HEAD" if draw < 0.02 else b"GET")
        hot = chance.random() < 0.7
        number = (
            chance.choices(self._hot, cum_weights=self._weights)[0] if hot else next(self._numbers)
        )
        subject = _hot_subject(self._seed, number) if hot else _subject(self._seed, number)
        return self._ask(subject)

    def _read(self, method: bytes) -> Question:
        target = self._chance.choice((b"/v1/models", b"/version"))
        # vLLM, and so the simulator, has no HEAD: 405, with the length of a body that never comes.
        status = 405 if method == b"HEAD" else 200
        return Question(method, target, (), b"", status, None, "", "")

    def _ask(self, subject: Subject) -> Question:
        chance = self._chance
        fields = dict(subject.fields)
        stream = chance.random() < 0.4
        wants_usage = stream and chance.random() < 0.3
        if stream or chance.random() < 0.2:
            fields["stream"] = stream
        if wants_usage:
            fields["stream_options"] = {"include_usage": True}
        if chance.random() < 0.2:
            fields["user"] = f"user-{chance.randrange(5)}"
        if chance.random() < 0.2:
            items = list(fields.items())
            chance.shuffle(items)
            fields = dict(items)
        body = json.dumps(fields, separators=(",", ":") if chance.random() < 0.8 else None).encode()
        authorization = chance.choice(self._tenants)
        headers = [(b"content-type", b"application/json"), (b"Authorization", authorization)]
        may_share = subject.may_share
        if chance.random() < 0.3:
            priority = chance.choice((-100, -1, 0, 5, 100))
            headers.append((b"x-batchfleet-priority", b"%d" % priority))
        if chance.random() < 0.03:
            headers.append((b"x-batchfleet-merge", b"off"))
            may_share = False
        fresh = chance.random() < 0.03
        if fresh:
            headers.append((b"cache-control", chance.choice((b"no-store", b"no-cache"))))
        return Question(
            b"POST",
            subject.target,
            tuple(headers),
            body,
            subject.status,
            subject.expected,
            asked_hash(body),
            caller_hash(headers),
            stream,
            wants_usage,
            may_share,
            fresh,
            chance.random() < 0.05,
            self._manner(subject.fields["max_tokens"] == LONG_TOKENS),
        )

    def _manner(self, long: bool) -> Manner:
        # Slowness is felt only where an answer is more than the sockets between hold.
        if long:
            return self._chance.choice(LONG_MANNERS)
        draw = self._chance.random()
        for share, manner in (
            (0.01, Manner.LEAVES_SENDING),
            (0.06, Manner.LEAVES_WAITING),
            (0.09, Manner.LEAVES_READING),
            (0.12, Manner.SLOW),
            (0.122, Manner.STUCK),
        ):
            if draw < share:
                return manner
        return Manner.PATIENT


@lru_cache(maxsize=4 * HOT_SUBJECTS)
def _hot_subject(seed: int, number: int) -> Subject:
    return _subject(seed, number)


def _subject(seed: int, number: int) -> Subject:
    """Subject ``number`` of this seed, always the same."""
    chance = random.Random(f"{seed} {number}")
    words = [f"Question {number}."]
    if chance.random() < 0.04:
        words.append(FRAGILE)
    draw = chance.random()
    if draw < 0.003:
        words.append("very long " * 28_000)  # past what is merged
    else:
        words.append("word " * chance.randrange(60))
    prompt = " ".join(words)
    fields: dict[str, Any] = {"model": MODEL, "max_tokens": chance.randint(1, 12)}
    kind = 0.0 if number in LONG_HOT else chance.random()
    if kind < 0.8:
        fields |= {"temperature": 0} if kind < 0.7 else {"temperature": 1, "seed": number}
    else:
        fields["temperature"] = 0.7
    if chance.random() < 0.5:
        fields["ignore_eos"] = True
    if chance.random() < 0.06:
        fields["n"] = 2
    if number in LONG_HOT or 0.003 <= draw < 0.005:
        fields |= {"max_tokens": LONG_TOKENS, "ignore_eos": True}
    status = 200
    wrong = 1.0 if number < 10 else chance.random()  # not the most frequent: little would be left
    if wrong < 0.01:
        fields["max_tokens"], status = MAX_MODEL_LEN + 1, 400
    elif wrong < 0.02:
        fields["model"], status = "unknown", 404
    chat = chance.random() < 0.7
    if chat:
        fields["messages"] = [{"role": "user", "content": prompt}]
    else:
        fields["prompt"] = prompt
    target = b"/v1/chat/completions" if chat else b"/v1/completions"
    expected = _expected(fields, chat) if status == 200 else None
    return Subject(target, fields, status, expected, kind < 0.8)


def _expected(fields: dict[str, Any], chat: bool) -> Expected:
    settings = Settings(model=MODEL, max_model_len=MAX_MODEL_LEN)
    if chat:
        body = Chat.model_validate(fields)
        prompt = body.prompt()
        asked = ask(ChatShape(), body, [(prompt, tokens_of(prompt))], settings)
    else:
        completion = Completion.model_validate(fields)
        asked = ask(CompletionShape(), completion, sized(fields["prompt"]), settings)
    usage = asked.usage()
    return Expected(
        tuple(choice.text(0, choice.reply.tokens) for choice in asked.choices),
        tuple(choice.reply.finish_reason for choice in asked.choices),
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
