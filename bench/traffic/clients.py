"""Clients of every manner on raw sockets: kept-alive, pipelined, leaving, slow, impatient never.

Each session is one client: it opens a connection, asks in bursts, reads the answers in order and
books each one.  What stands unanswered behind an announced close is asked again, as any HTTP
client does; whatever else stays unanswered is lost.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from bench.traffic.ledger import Ledger
from bench.traffic.question import LEAVING, Manner, Question, Questions
from bench.traffic.verdict import Outcome, Verdict, judge
from bench.traffic.wire import Answer, Malformed, Parser

PATIENCE_SECONDS = 60.0  # an answer that takes longer is lost
SIP_BYTES = 2048
SIPS = 60
STUCK_SECONDS = 4.0
SMALL_BUFFER_BYTES = 4096  # a slow client's socket takes no more than this in advance
SMALL_SEGMENT_BYTES = 536
"""Or the loopback's segments of 64 KiB let the sender's buffer swallow the longest answer."""
MAX_BURST = 4

Tamper = Callable[[Question, Answer], None]
"""Falsifies an answer before it is judged: how a run shows that its judge is awake."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who asks, and for how long.  ``more`` says whether another question is to be asked."""

    port: int
    questions: Questions
    ledger: Ledger
    chance: random.Random
    more: Callable[[], bool]
    tamper: Tamper = lambda question, answer: None

    async def run(self, sessions: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(sessions):
                tasks.create_task(_Session(self).run())


class _Session:
    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._chance = crowd.chance
        self._time = asyncio.get_running_loop().time
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._parser = Parser()
        self._again: deque[Question] = deque()

    async def run(self) -> None:
        try:
            while self._again or self._crowd.more():
                await self._burst()
                if self._chance.random() < 0.03:
                    self._hang_up()
        finally:
            self._hang_up()

    async def _burst(self) -> None:
        """One request, or a few in one write; then the answers, in order."""
        burst = [self._again.popleft() if self._again else self._crowd.questions.next()]
        if burst[0].manner is Manner.PATIENT and self._chance.random() < 0.15:
            while len(burst) < self._chance.randint(2, MAX_BURST) and self._crowd.more():
                burst.append(self._crowd.questions.next())
                if burst[-1].manner is not Manner.PATIENT:
                    break  # whoever leaves, or dawdles, is the last on the connection
        if any(question.manner in (Manner.SLOW, Manner.STUCK) for question in burst):
            self._hang_up()  # it needs small buffers
        ledger = self._crowd.ledger
        ledger.sent += len(burst)
        try:
            writer = await self._connected(burst[-1].manner)
        except OSError as error:
            for question in burst:
                ledger.enter(question, Verdict(Outcome.LOST, f"no connection: {error}"))
            await asyncio.sleep(0.05)
            return
        sent = b"".join(question.wire() for question in burst)
        if burst[-1].manner is Manner.LEAVES_SENDING:
            sent = sent[: len(sent) - len(burst[-1].wire()) // 2]
        writer.write(sent)
        refused = False
        for at, question in enumerate(burst):
            verdict, keeps = await self._answered(question)
            ledger.enter(question, verdict)
            refused = refused or verdict.outcome is Outcome.REFUSED
            if not keeps:
                self._hang_up()
                for behind in burst[at + 1 :]:
                    ledger.enter(behind, Verdict(Outcome.SENT_AGAIN))
                    self._again.append(behind)
                break
        if refused:  # as Retry-After asks, in the bench's shorter time
            await asyncio.sleep(self._chance.uniform(0.1, 1.0))

    async def _answered(self, question: Question) -> tuple[Verdict, bool]:
        """The verdict, and whether the connection may go on."""
        manner = question.manner
        if manner is Manner.LEAVES_SENDING:
            await asyncio.sleep(self._chance.uniform(0, 0.01))
            return Verdict(Outcome.LEFT, "sending"), False
        answer = self._parser.expect(bodiless=question.method == b"HEAD")
        patience = PATIENCE_SECONDS
        if manner is Manner.LEAVES_WAITING:
            patience = self._chance.uniform(0, 0.04)
        try:
            async with asyncio.timeout(patience):
                done = await self._read(answer, manner)
        except Malformed as found:
            return Verdict(Outcome.MIXED_UP, f"no HTTP: {found}"), False
        except TimeoutError:
            done = False
        self._crowd.tamper(question, answer)
        left = not done and manner in LEAVING
        verdict = judge(question, answer, left=left)
        if not done and not left and not answer.status:
            verdict = Verdict(Outcome.LOST, "no answer in time, or an unannounced close")
        return verdict, answer.keeps and answer.whole

    async def _read(self, answer: Answer, manner: Manner) -> bool:
        """False: the client has had enough.  True: whole, or the connection has ended."""
        sips = SIPS if manner is Manner.SLOW else 0
        data = b""
        while not self._parser.feed(data, self._time()):
            if answer.body and manner is Manner.LEAVES_READING:
                return False
            if answer.body and manner is Manner.STUCK:
                await asyncio.sleep(STUCK_SECONDS)
                manner = Manner.PATIENT
            if sips:
                sips -= 1
                await asyncio.sleep(self._chance.uniform(0.001, 0.02))
            try:
                data = await self._reader.read(SIP_BYTES if sips else 65536)
            except ConnectionError:
                data = b""
            if not data:
                self._parser.closed()
                return True
        return True

    async def _connected(self, manner: Manner) -> asyncio.StreamWriter:
        if self._writer is not None and not self._writer.is_closing():
            return self._writer
        slow = manner in (Manner.SLOW, Manner.STUCK)
        sock = socket.socket()
        try:
            sock.setblocking(False)
            if slow:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT_BYTES)
            address = ("127.0.0.1", self._crowd.port)
            await asyncio.get_running_loop().sock_connect(sock, address)
            limit = SIP_BYTES if slow else 65536
            self._reader, self._writer = await asyncio.open_connection(sock=sock, limit=limit)
        except BaseException:
            sock.close()
            raise
        self._parser = Parser()
        return self._writer

    def _hang_up(self) -> None:
        """By a close or, as crashed clients do, by a reset."""
        writer, self._writer = self._writer, None
        if writer is not None:
            if self._chance.random() < 0.5:
                writer.transport.abort()
            else:
                writer.close()
