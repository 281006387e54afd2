"""What has been read of one client's messages, and the rules that hold however they come.

``reader`` finds heads and bodies; here they are charged to the byte budget and become requests, or
the error that ends the connection.
"""

from __future__ import annotations

from collections import deque

from batchfleet_worker import errors, http1
from batchfleet_worker.exchange import Refusal, Request
from batchfleet_worker.inflow import Inflow
from batchfleet_worker.intake import Intake
from batchfleet_worker.opening import Manner, Opening

Asked = tuple[Request | Refusal, str, Manner]
"""One message of a client: what it asks, its id, how it wants to be answered.  A plain tuple: a
class of its own would cost as much as finding the message does."""


class Messages:
    """One connection's messages.  Complete ones are appended to ``asked``, in order."""

    def __init__(self, intake: Intake) -> None:
        self.asked: deque[Asked] = deque()
        self.deaf = False  # after an error nothing more is read
        self.in_body = False
        self.broken: Refusal | None = None  # what is wrong with a body that is being passed on
        self._intake = intake
        self._inflow: Inflow | None = None  # takes the rest of a message that was asked already
        self._charged_bytes = 0  # of the budget
        # Of the message that is being read:
        self._opening: Opening | None = None
        self._request_id: str | None = None  # the client's own
        self._own = b""  # see ``Request.own``
        self._body: list[bytes] = []
        self._body_bytes = 0

    def reject(self, refusal: Refusal) -> None:
        """Answer with an error when it is this message's turn, and read nothing after it."""
        self.deaf = True
        if self._inflow is not None:
            self.broken = refusal
            return
        opening = self._opening
        request_id = self._request_id or self._intake.request_ids()
        allow = opening.manner.allow if opening is not None else b""
        self.asked.append((refusal, request_id, Manner(keep_alive=False, allow=allow)))

    def settle(self) -> None:
        """Nothing that was read is needed any more, but for a request that is half read."""
        if self._charged_bytes and not self.asked and (self.deaf or not self.in_body):
            self.close()

    def close(self) -> None:
        self._intake.budget.give(self._charged_bytes)
        self._charged_bytes = 0

    def _charge(self, n_bytes: int) -> None:
        """Some more of a body is held.  Raises :class:`http1.Refused`."""
        if not self._intake.budget.take(n_bytes):
            raise http1.Refused(errors.OVERLOADED)
        self._charged_bytes += n_bytes

    def _ask(
        self,
        opening: Opening,
        body: bytes,
        request_id: str | None,
        own: bytes,
        manner: Manner,
        inflow: Inflow | None = None,
    ) -> None:
        """A message is complete, or as much of it as will be held."""
        request_id = request_id or self._intake.request_ids()
        judged = opening.judged
        if isinstance(judged, Refusal):
            self.asked.append((judged, request_id, manner))
        else:
            request = Request(judged, body, request_id, inflow, own)
            self.asked.append((request, request_id, manner))

    def _begin(self, opening: Opening, length: int | None) -> None:
        """Ask before the body is complete; what comes of it from here on is passed on."""
        self._inflow = inflow = Inflow(length)
        body = b"".join(self._body)
        self._ask(opening, body, self._request_id, self._own, opening.manner, inflow)
        self._body = []

    def _end(self) -> None:
        """The body that was passed on is complete."""
        inflow, self._inflow = self._inflow, None
        if inflow is not None:
            inflow.finish()
