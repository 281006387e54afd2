"""What can go wrong between us and the API server, or Prometheus, in our own words.

``cluster`` raises the first and ``prometheus`` the second, and only these; their text is for
people, the server's own where it has one.  It never holds a credential.

ClusterError
 ├─ NotFoundError     404: the object, or the kind itself, is not there
 ├─ ConflictError     409: another UID or version than the one we named, or the name is taken
 ├─ InvalidError      400, 422: what we sent is refused
 ├─ ForbiddenError    403: our account or an admission policy does not allow it
 ├─ UnavailableError  everything that may pass: no connection, time-out, 401, 429, 5xx
 └─ UnreachableError  there is no cluster to talk to: neither a pod's credentials nor a kubeconfig

PrometheusError
 ├─ QueryRefusedError  400, 422: the query does not parse, or cannot be computed
 └─ NoAnswerError      everything that may pass: no connection, time-out, 401, 5xx, no Prometheus
"""


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
