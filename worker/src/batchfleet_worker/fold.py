"""A client's place in a stream that it did not ask for: it gets the whole answer at the end.

For a client who wants the answer at once and shares the flight of one who streams.  Stands between
the flight and that client's sink: the client hears nothing until the stream is complete, and then
gets a head with a length and one JSON body, as the engine would have answered.

    flight ──head, events──► Fold ──head and body at the end──► the client's sink
                              └─ a stream that is not plain text: ``instead``, and silence
"""

from __future__ import annotations

from collections.abc import Callable

from batchfleet_worker.errors import ENGINE_BROKEN, OVERLOADED
from batchfleet_worker.events import Aligner, own_id, split
from batchfleet_worker.exchange import Refusal, ResponseHead, Sink, Told
from batchfleet_worker.memory import Budget
from batchfleet_worker.transcript import NotWholeError, Transcript, Unfolded

TAKE_BYTES = 4096
"""How much of the budget is taken at a time."""

_REPLACED_HEADERS = frozenset({b"content-type", b"content-length", b"transfer-encoding"})


class Fold:
    """A sink for a flight, in front of the client's own ``sink``.

    ``token``: what the client's own id is made of (its request id).  ``instead``: called at most
    once, in place of a refusal, when the stream cannot be folded; from then on nothing reaches the
    sink from here, and the pipeline may ask the engine for this client alone.  ``drop`` has to be
    called when the client leaves.
    """

    __slots__ = (
        "_aligner",
        "_budget",
        "_head",
        "_instead",
        "_left",
        "_over",
        "_taken_bytes",
        "_token",
        "_told",
        "_transcript",
        "sink",
        "why",
    )

    def __init__(
        self,
        sink: Sink,
        budget: Budget,
        token: bytes,
        instead: Callable[[Unfolded], None] | None = None,
    ) -> None:
        self.sink = sink
        self.why: Unfolded | None = None
        self._budget = budget
        self._token = token
        self._instead = instead
        self._aligner = Aligner()
        self._transcript = Transcript()
        self._head: ResponseHead | None = None  # None: the answer is passed on as it comes
        self._told: Told | None = None
        self._taken_bytes = 0
        self._over = False
        self._left = False

    # --- exchange.Sink -----------------------------------------------------------------------

    def start(self, head: ResponseHead, told: Told) -> None:
        if head.status != 200 or not _streams(head):
            self.sink.start(head, told)
            return
        self._head = head
        self._told = told

    def data(self, chunk: bytes) -> None:
        if self._over:
            return
        if self._head is None:
            self.sink.data(chunk)
            return
        transcript = self._transcript
        try:
            for event in split(self._aligner.feed(chunk)):
                transcript.add(event)
                if len(transcript.text) > self._taken_bytes:
                    self._take(len(transcript.text))
        except NotWholeError as error:
            self._give_up(error.why)

    def end(self) -> None:
        if self._over:
            return
        head, told = self._head, self._told
        if head is None or told is None:
            self._over = True
            self.sink.end()
            return
        transcript = self._transcript
        try:
            # Whatever follows the last blank line was never finished.
            if self._aligner.end():
                raise NotWholeError(Unfolded.INCOMPLETE)
            own = own_id(transcript.id.encode(), self._token).decode()
            body = transcript.whole(own)
        except NotWholeError as error:
            self._give_up(error.why)
            return
        self._release()
        headers = tuple(each for each in head.headers if each[0] not in _REPLACED_HEADERS)
        headers = (*headers, (b"content-type", b"application/json"))
        # The client may leave from inside each of these, and is not called after that.
        self.sink.start(ResponseHead(200, headers, len(body)), told)
        if not self._left:
            self.sink.data(body)
        if not self._left:
            self.sink.end()

    def refuse(self, refusal: Refusal) -> None:
        if not self._over:
            self._release()
            self.sink.refuse(refusal)

    def backlog(self) -> int:
        return self.sink.backlog()

    # --- for the pipeline --------------------------------------------------------------------

    def drop(self) -> None:
        """The client left: the memory is given back and the sink left alone.  Idempotent."""
        self._left = True
        self._release()

    # --- inside ------------------------------------------------------------------------------

    def _release(self) -> None:
        self._over = True
        self._budget.give(self._taken_bytes)
        self._taken_bytes = 0
        self._transcript = Transcript()

    def _take(self, needed_bytes: int) -> None:
        more = max(needed_bytes - self._taken_bytes, TAKE_BYTES)
        if not self._budget.take(more):
            raise NotWholeError(Unfolded.OVERLOADED)
        self._taken_bytes += more

    def _give_up(self, why: Unfolded) -> None:
        self.why = why
        self._release()
        if self._instead is not None:
            self._instead(why)
        else:
            self.sink.refuse(OVERLOADED if why is Unfolded.OVERLOADED else ENGINE_BROKEN)


def _streams(head: ResponseHead) -> bool:
    return any(
        name == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in head.headers
    )
