"""What there is to tell about one request when it is over.

The data port makes one for each request, but only where somebody listens (access log, traces); so
that neither costs anything while it is off.
"""

from __future__ import annotations

from typing import NamedTuple

from batchfleet_worker.exchange import Request, Told


class Finished(NamedTuple):
    """``told`` None: the engine never answered.  ``whole`` False: cut off, by whomever."""

    request: Request | None  # None: it was never understood
    request_id: str
    status: int  # 0: the client left before any answer
    code: str  # of the sidecar's own error; "" where there was none
    told: Told | None
    seconds: float  # from the whole request to the end of its answer
    sent_bytes: int  # of the answer's body
    whole: bool
