"""One client's connection, and whose turn it is on it.

One request is under way at a time.  Bytes that come while it waits are held unparsed (never unread:
a client that goes away must be noticed), and looked at when its answer is out; unless they are the
rest of its body, which is passed on as the engine takes it.  Everything is a callback; there is no
task, future or timer per request.

    bytes ──► RequestReader ──► Asked ──► offer(request, Answer) ──► bytes
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from batchfleet_worker import errors, http1
from batchfleet_worker.answer import Answer
from batchfleet_worker.exchange import LAGGING_BYTES, Refusal, Request, Sink, Ticket
from batchfleet_worker.inflow import Inflow
from batchfleet_worker.messages import Asked
from batchfleet_worker.reader import RequestReader

if TYPE_CHECKING:
    from batchfleet_worker.relay import DataPort

UNUSED_SECONDS = 60.0  # a connection that never asked anything
LINGER_SECONDS = 3.0  # for a client to go after its connection was ended
HELD_BYTES: Final = (
    65536  # of later requests, unparsed, while one is under way; more stays in the socket
)

_ESTABLISHED = 1  # tcp_info.tcpi_state; a peer that has closed leaves it

Offer = Callable[[Request, Sink], Ticket]
OnRefused = Callable[[Refusal, str], None]  # with the request's id


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client is waited for, in seconds; measured by the sweeps."""

    head: float = 10.0  # from the first byte of a request's head to its end (slow loris)
    body: float = 120.0  # for a body to arrive, or an answer to be taken: 2 Mbit/s for 32 MB
    # Longer than the 600 s for which load balancers keep idle connections: the client closes
    # first, and no request meets a connection that is being closed.
    idle: float = 620.0


class Client(asyncio.Protocol):
    """One client's connection."""

    transport: asyncio.Transport

    def __init__(self, port: DataPort) -> None:
        self.writing_stopped = False
        self._port = port
        self._reader = RequestReader(port.intake)
        self._answer: Answer | None = None  # of the request under way
        self._ticket: Ticket | None = None
        self._inflow: Inflow | None = None  # of its body, where that is passed on as it comes
        self._held = b""
        self._unsent_bytes = 0  # of the budget: written, and not taken by the socket
        self._reading_stopped = False
        self._leaving = False  # ended from our side, waiting for the client to go
        self._turning = False
        self._passing = False
        self._served = False
        self._since = self._born = port.about_now  # start of the present state; of all of it
        self._spread = port.spread()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=LAGGING_BYTES)
        self._port.came(self)

    def data_received(self, data: bytes) -> None:
        if self._reader.deaf or self._leaving:
            return
        if self._answer is not None or self.writing_stopped:
            self._held += data
            if self._inflow is not None and self._inflow.flowing:
                self._pass_on()
            elif len(self._held) > HELD_BYTES and not self._reading_stopped:
                self._reading_stopped = True
                self.transport.pause_reading()
            return
        self._read(data)
        self._turn()

    def eof_received(self) -> None:
        """Returning None closes the connection: a client that sends no more has left."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.went(self)
        self._reader.close()
        self._leaving = True
        answer, ticket = self._answer, self._ticket
        self._answer = self._ticket = None
        self._drop_inflow()
        self._port.intake.budget.give(self._unsent_bytes)
        self._unsent_bytes = 0
        if answer is not None:
            answer.forsaken()
        if ticket is not None:
            ticket.leave()

    def pause_writing(self) -> None:
        self.writing_stopped = True
        self._count_unsent()

    def resume_writing(self) -> None:
        self.writing_stopped = False
        self._count_unsent()
        if self._ticket is not None:
            self._ticket.drained()
        elif self._held or self._reader.asked or self._reading_stopped:
            self._turn()

    def _count_unsent(self) -> None:
        """What a client does not take is held for it, out of the one budget; without room there it
        is dropped, or many who read nothing would take the process past its memory."""
        budget = self._port.intake.budget
        unsent = self.transport.get_write_buffer_size() if self.writing_stopped else 0
        more = unsent - self._unsent_bytes
        if more <= 0:
            budget.give(-more)
        elif not budget.take(more):
            self._port.metrics.refuse(errors.TOO_SLOW.code)
            self.transport.abort()
            return
        self._unsent_bytes = unsent

    # --- taking turns

    def _read(self, data: bytes) -> None:
        reader = self._reader
        was_idle = not (reader.in_head or reader.in_body)
        self._held = reader.feed(data)
        if was_idle:
            self._since = self._port.about_now

    def _turn(self) -> None:
        """Serve what has been read, one at a time; then look at what was held.  Not while the
        client takes nothing: its answers would pile up."""
        if self._turning:
            return  # an answer that came at once: the loop below goes on
        self._turning = True
        reader = self._reader
        while self._answer is None and not (self._leaving or self.writing_stopped):
            if reader.asked:
                self._serve(reader.asked.popleft())
            elif self._held:
                self._read(self._held)
            else:
                break
        self._turning = False
        if self._answer is not None or self._leaving or self.writing_stopped:
            return
        if reader.owes_continue:
            reader.owes_continue = False
            self.transport.write(http1.CONTINUE)
        if self._reading_stopped:
            self._reading_stopped = False
            self.transport.resume_reading()

    def _serve(self, asked: Asked) -> None:
        port = self._port
        what, request_id, manner = asked
        self._served = True
        self._answer = answer = Answer(self, request_id, manner, port.metrics)
        if isinstance(what, Refusal):
            port.metrics.refuse(what.code)
            if port.on_refused is not None:
                port.on_refused(what, request_id)
            answer.refuse(what)
            return
        rest = what.rest
        if rest is not None and isinstance(rest, Inflow):
            self._inflow = rest
            rest.attach(self._pass_on)
        ticket = port.offer(what, answer)
        if self._waits_for(answer):  # it was not answered at once
            self._ticket = ticket
            if self._inflow is not None:
                self._pass_on()

    def _waits_for(self, answer: Answer) -> bool:
        # Asked through a method: compiled code believes that an attribute still is what it gave it.
        return self._answer is answer

    # --- a body that is passed on while it comes

    def _pass_on(self) -> None:
        """The engine takes what comes: more of it has come, or it takes it again."""
        inflow, reader = self._inflow, self._reader
        if inflow is None or self._ticket is None or self._passing:
            return  # _serve calls again when the ticket is there
        self._passing = True
        self._since = self._port.about_now
        if inflow.flowing and reader.owes_continue:
            reader.owes_continue = False
            self.transport.write(http1.CONTINUE)
        while self._held and inflow.flowing and not inflow.complete:
            self._held = reader.feed(self._held)
            if reader.broken is not None:
                self._break_off(reader.broken)
        self._passing = False
        if self._reading_stopped and len(self._held) <= HELD_BYTES:
            self._reading_stopped = False
            self.transport.resume_reading()

    def _break_off(self, refusal: Refusal) -> None:
        """What comes of the body cannot be passed on."""
        answer, ticket = self._answer, self._ticket
        self._ticket = None
        if ticket is not None:
            ticket.leave()
        if answer is not None:
            self._port.metrics.refuse(refusal.code)
            answer.refuse(refusal)

    def _drop_inflow(self) -> None:
        inflow, self._inflow = self._inflow, None
        if inflow is not None:
            inflow.drop()

    def may_stay(self) -> bool:
        """Whether the connection may outlive the answer that begins now; False while draining."""
        if not self._port.may_stay(self._born, self._spread):
            return False
        # A body whose rest nobody waits for stands in the way of the next request.
        return self._inflow is None or self._inflow.complete

    def reset(self) -> None:
        """Close so that nobody can take what was sent for the whole answer."""
        sock = self.transport.get_extra_info("socket")
        with socket.socket(fileno=os.dup(sock.fileno())) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._answer = self._ticket = None
        self._drop_inflow()
        self._leaving = True
        self.transport.abort()

    def answered(self, keep_alive: bool) -> None:
        """The answer under way has been written, or broken off."""
        self._answer = self._ticket = None
        if self._inflow is not None:
            keep_alive = keep_alive and self._inflow.complete
            self._drop_inflow()
        self._since = self._port.about_now
        reader = self._reader
        reader.settle()
        if not keep_alive:
            self._end()
        elif self._held or reader.asked or reader.owes_continue or self._reading_stopped:
            self._turn()

    # --- ending

    def _end(self) -> None:
        """Say goodbye, but go on reading: a reset would destroy the answer on its way."""
        self._leaving = True
        self._held = b""
        if self.transport.is_closing():
            return
        if self._reading_stopped:
            self._reading_stopped = False
            self.transport.resume_reading()
        self.transport.write_eof()

    def close_if_idle(self) -> None:
        reader = self._reader
        if self._answer is None and not (reader.in_head or reader.in_body or self._leaving):
            self.transport.close()

    def sweep(self, now: float) -> None:
        age = now - self._since
        if self.writing_stopped and not self.transport.is_closing():
            self._count_unsent()
        reader, patience = self._reader, self._port.patience
        if self._answer is not None:
            self._sweep_waiting(age)
            return
        if self.transport.get_write_buffer_size():
            if age > patience.body:
                self.transport.abort()  # it does not take its answer
        elif self._leaving:
            if age > LINGER_SECONDS:
                self.transport.abort()
        elif reader.in_head or reader.in_body:
            if age > (patience.head if reader.in_head else patience.head + patience.body):
                reader.reject(errors.REQUEST_TIMEOUT)
                self._turn()
        elif age > (patience.idle if self._served else UNUSED_SECONDS):
            self.transport.abort()

    def _sweep_waiting(self, age: float) -> None:
        """While a request is under way the pipeline's deadline rules, but for these."""
        inflow, patience = self._inflow, self._port.patience
        if self._reading_stopped and _has_left(self.transport):
            self.transport.abort()  # reading would have told
        elif (
            inflow is not None
            and inflow.flowing
            and not inflow.complete
            and not self._held
            and not self._reader.in_tunnel
            and age > patience.body
        ):
            self._break_off(errors.REQUEST_TIMEOUT)


def _has_left(transport: asyncio.Transport) -> bool:
    """Whether the other side has closed, seen without reading."""
    sock = transport.get_extra_info("socket")
    state: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return state[0] != _ESTABLISHED
