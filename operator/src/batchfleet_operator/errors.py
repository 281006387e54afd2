"""What can go wrong between us and the API server, or Prometheus, in our own words.

``cluster`` raises the first and ``prometheus`` the second, and only these; their text is for
people, the server's own where it has one.  It never holds a credential.

ClusterError
 ├─ NotFoundError     404: the object, or the kind itself, is not there
 ├─ ConflictError     409: another UID or version than the one we named, or the name is taken
 ├─ InvalidError      400, 422: what we sent is refused
 ├─ ForbiddenError    403: our account or an admission policy does not allow it
 │   └─ EndingError   nothing new is let into a namespace that is being deleted
 ├─ UnavailableError  everything that may pass: no connection, time-out, 401, 429, 5xx
 └─ UnreachableError  there is no cluster to talk to: neither a pod's credentials nor a kubeconfig

PrometheusError
 ├─ QueryRefusedError  400, 422: the query does not parse, or cannot be computed
 └─ NoAnswerError      everything that may pass: no connection, time-out, 401, 5xx, no Prometheus
"""

from __future__ import annotations

import json


class ClusterError(Exception):
    """The API server did not do what we asked; the text is for people."""


class NotFoundError(ClusterError):
    """404."""


class ConflictError(ClusterError):
    """409."""


class InvalidError(ClusterError):
    """400 or 422."""


class ForbiddenError(ClusterError):
    """403."""


class EndingError(ForbiddenError):
    """403, since the namespace is being deleted."""


class UnavailableError(ClusterError):
    """No answer, or one that says: later."""


class UnreachableError(ClusterError):
    """There is no cluster to talk to: neither in-cluster credentials nor a kubeconfig."""


class PrometheusError(Exception):
    """Prometheus did not say what we asked; the text is for people."""


class QueryRefusedError(PrometheusError):
    """400 or 422: asking again gives the same."""


class NoAnswerError(PrometheusError):
    """No answer, or one that says: later, or one that Prometheus does not give."""


def of_answer(status: int, text: bytes) -> ClusterError:
    """The API server's answer as an error, with the message of its ``Status`` where it is one."""
    causes = []
    try:
        told = json.loads(text)
        message = str(told["message"])
        causes = [each.get("reason") for each in (told.get("details") or {}).get("causes") or ()]
    except (ValueError, KeyError, TypeError, AttributeError):
        message = text.decode(errors="replace").strip()[:500] or f"HTTP {status}"
    match status:
        case 404:
            return NotFoundError(message)
        case 409:
            return ConflictError(message)
        case 403 if "NamespaceTerminating" in causes:
            return EndingError(message)
        case 403:
            return ForbiddenError(message)
        case 400 | 422:
            return InvalidError(message)
        case _:
            return UnavailableError(f"{message} (HTTP {status})")
