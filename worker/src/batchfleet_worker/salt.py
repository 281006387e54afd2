"""Keeps tenants apart in the engine's own prefix cache: a salt of each tenant's in its requests.

An engine answers sooner where it has seen the beginning of a prompt before, whoever sent that: by
measuring, one tenant could find out what another asks.  vLLM keeps prefixes with different
``cache_salt`` apart.  Put in by ``dispatch``, last of all, on the way to the engine: what is
compared and kept is what the client sent.  Off unless asked for, because a prompt that all tenants
begin with is then computed for each of them.
"""

from __future__ import annotations

import re
from hashlib import sha256

from batchfleet_worker.exchange import Request
from batchfleet_worker.openai import COMPUTED

SALTED = COMPUTED | {
    *("/v1/chat/completions", "/v1/chat/completions/batch", "/v1/completions"),
    *("/v1/responses", "/v1/messages"),
}
"""Paths whose requests vLLM reads a salt of (0.32)."""

_OPENING = re.compile(rb'[ \t\r\n]*\{(?=[ \t\r\n]*")')


class Salts:
    """``secret`` is of this process: nobody can guess a salt, or learn one from another pod."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def into(self, request: Request, body: bytes) -> bytes:
        """``body`` with its tenant's salt; the same object where it cannot have one.

        In front of the other fields: a salt that the client wrote itself is read last, and counts.
        """
        head = request.head
        if head.path not in SALTED:
            return body
        opening = _OPENING.match(body)
        if opening is None:
            return body
        at = opening.end()
        return b'%b"cache_salt":"%b",%b' % (body[:at], self.of(head.caller.tenant), body[at:])

    def of(self, tenant: str) -> bytes:
        """256 bits, as vLLM asks for, in hexadecimal: it refuses some characters of base64."""
        return sha256(self._secret + tenant.encode()).hexdigest().encode()
