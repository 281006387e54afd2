"""The data port: where clients connect, and whose turn it is on each connection.

One request per connection is under way at a time.  Bytes that come while it waits are held unparsed
(never unread: a client that goes away must be noticed), and looked at when its answer is out.
Everything is a callback; there is no task, future or timer per request.

    bytes ──► RequestReader ──► Asked ──► pipeline.offer(request, Answer) ──► bytes
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import cast

from batchfleet_worker import errors, http1
from batchfleet_worker.answer import Answer
from batchfleet_worker.exchange import LAGGING_BYTES, Refusal, Request, Sink, Ticket
from batchfleet_worker.metrics import Metrics
from batchfleet_worker.reader import Asked, Intake, RequestReader

HEAD_SECONDS = 10.0  # from the first byte of a request's head to its end (slow loris)
BODY_SECONDS = 120.0  # for a body to arrive, and for a client to take its answer: 2 Mbit/s
UNUSED_SECONDS = 60.0  # a connection that never asked anything
# Longer than the 600 s for which load balancers keep idle connections: the client closes first,
# and no request meets a connection that is being closed.
IDLE_SECONDS = 620.0
LINGER_SECONDS = 3.0  # for a client to go after its connection was ended
SWEEP_SECONDS = 1.0

HELD_BYTES = 65536  # of later requests, unparsed, while one is under way; more stays in the socket
SLICE_BYTES = (
    16384  # parsed at a time outside a body, or a read of tiny requests would be thousands
)

Offer = Callable[[Request, Sink], Ticket]


class DataPort:
    """What all client connections share."""

    def __init__(
        self, offer: Offer, intake: Intake, metrics: Metrics, now: Callable[[], float]
    ) -> None:
        """``now`` is monotonic seconds."""
        self.offer = offer
        self.intake = intake
        self.metrics = metrics
        self.now = now
        self.draining = False  # every answer ends its connection
        self.clients: set[Client] = set()
        self.empty = asyncio.Event()  # while there is no client
        self.empty.set()

    def came(self, client: Client) -> None:
        self.clients.add(client)
        self.empty.clear()

    def went(self, client: Client) -> None:
        self.clients.discard(client)
        if not self.clients:
            self.empty.set()

    def client(self) -> Client:
        return Client(self)

    def sweep(self) -> None:
        """End what has taken too long; called every SWEEP_SECONDS in place of timers."""
        now = self.now()
        for client in list(self.clients):
            client.sweep(now)

    def close_idle(self) -> None:
        for client in list(self.clients):
            client.close_if_idle()

    def abort(self) -> None:
        for client in list(self.clients):
            client.transport.abort()


class Client(asyncio.Protocol):
    """One client's connection."""

    transport: asyncio.Transport

    def __init__(self, port: DataPort) -> None:
        self.writing_stopped = False
        self._port = port
        self._reader = RequestReader(port.intake)
        self._answer: Answer | None = None  # of the request under way
        self._ticket: Ticket | None = None
        self._held = b""
        self._reading_stopped = False
        self._leaving = False  # ended from our side, waiting for the client to go
        self._turning = False
        self._served = False
        self._since = 0.0  # start of the present state, for sweep

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=LAGGING_BYTES)
        self._since = self._port.now()
        self._port.came(self)

    def data_received(self, data: bytes) -> None:
        if self._reader.deaf or self._leaving:
            return
        if self._answer is not None:
            self._held += data
            if len(self._held) > HELD_BYTES and not self._reading_stopped:
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
        if answer is not None:
            answer.forsaken()
        if ticket is not None:
            ticket.leave()

    def pause_writing(self) -> None:
        self.writing_stopped = True

    def resume_writing(self) -> None:
        self.writing_stopped = False
        if self._ticket is not None:
            self._ticket.drained()

    # --- taking turns

    def _read(self, data: bytes) -> None:
        reader = self._reader
        was_idle = not (reader.in_head or reader.in_body)
        if len(data) > SLICE_BYTES and not reader.in_body:
            data, self._held = data[:SLICE_BYTES], data[SLICE_BYTES:]
        reader.feed(data)
        if was_idle:
            self._since = self._port.now()

    def _turn(self) -> None:
        """Serve what has been read, one at a time; then look at what was held."""
        if self._turning:
            return  # an answer that came at once: the loop below goes on
        self._turning = True
        reader = self._reader
        while self._answer is None and not self._leaving:
            if reader.asked:
                self._serve(reader.asked.popleft())
            elif self._held and not reader.deaf:
                held, self._held = self._held, b""
                self._read(held)
            else:
                break
        self._turning = False
        if self._answer is not None or self._leaving:
            return
        if reader.owes_continue:
            reader.owes_continue = False
            self.transport.write(http1.CONTINUE)
        if self._reading_stopped:
            self._reading_stopped = False
            self.transport.resume_reading()

    def _serve(self, asked: Asked) -> None:
        port = self._port
        self._served = True
        self._answer = answer = Answer(asked, self, port.metrics)
        if isinstance(asked.what, Refusal):
            port.metrics.refuse(asked.what.code)
            answer.refuse(asked.what)
            return
        ticket = port.offer(asked.what, answer)
        if self._answer is answer:  # not answered at once
            self._ticket = ticket

    def may_stay(self) -> bool:
        return not self._port.draining

    def reset(self) -> None:
        """Close so that nobody can take what was sent for the whole answer."""
        sock = self.transport.get_extra_info("socket")
        with socket.socket(fileno=os.dup(sock.fileno())) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._answer = self._ticket = None
        self._leaving = True
        self.transport.abort()

    def answered(self, keep_alive: bool) -> None:
        """The answer under way has been written, or broken off."""
        self._answer = self._ticket = None
        self._since = self._port.now()
        self._reader.settle()
        if keep_alive:
            self._turn()
        else:
            self._end()

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
        reader = self._reader
        if self._answer is not None:
            return  # the pipeline's deadline rules
        if self.transport.get_write_buffer_size():
            if age > BODY_SECONDS:
                self.transport.abort()  # it does not take its answer
        elif self._leaving:
            if age > LINGER_SECONDS:
                self.transport.abort()
        elif reader.in_head or reader.in_body:
            if age > (HEAD_SECONDS if reader.in_head else HEAD_SECONDS + BODY_SECONDS):
                reader.reject(errors.REQUEST_TIMEOUT)
                self._turn()
        elif age > (IDLE_SECONDS if self._served else UNUSED_SECONDS):
            self.transport.abort()
