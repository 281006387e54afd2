"""What can go wrong between us and the API server, in our own words.

``cluster`` raises these and only these; their text is for people, the server's own where it has
one.

ClusterError
 ├─ NotFoundError     404: the object, or the kind itself, is not there
 ├─ ConflictError     409: another UID or version than the one we named, or the name is taken
 ├─ InvalidError      400, 422: what we sent is refused
 ├─ ForbiddenError    403: our account or an admission policy does not allow it
 ├─ UnavailableError  everything that may pass: no connection, time-out, 401, 429, 5xx
 └─ UnreachableError  there is no cluster to talk to: neither a pod's credentials nor a kubeconfig
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
