"""What Prometheus says of each service: the queries, the client, the tick, and ``Signals``."""
