"""The only place with PromQL and with the names of metrics.

``SIGNALS`` are the numbers of a service, ``NUMBERS`` those of the presets of its rules: each a
:class:`Definition` that makes its query for any pods and window, by service or by pod.  The
operator asks for all of them at once (``snapshot``, ``readings``); the chart's recording rules,
alerts and dashboards are made from the same definitions.  Pure: ``sampler`` asks, through
``prometheus``, and ``answers`` reads what comes back.
"""

from batchfleet_operator.metering.promql.expression import (
    EVERY,
    POD,
    SERVICE,
    SIGNAL,
    Definition,
    filled,
    pods_of,
    quoted,
    seconds,
    together,
)
from batchfleet_operator.metering.promql.fleet import (
    FRESH_PODS,
    KV_BLOCKS,
    PRESENCE,
    RATE_SECONDS,
    SIGNALS,
    snapshot,
)
from batchfleet_operator.metering.promql.presets import NUMBERS, PERCENTILE, ROLLOUT, Number
from batchfleet_operator.metering.promql.readings import ALL_NUMBERS, readings

__all__ = [
    "ALL_NUMBERS",
    "EVERY",
    "FRESH_PODS",
    "KV_BLOCKS",
    "NUMBERS",
    "PERCENTILE",
    "POD",
    "PRESENCE",
    "RATE_SECONDS",
    "ROLLOUT",
    "SERVICE",
    "SIGNAL",
    "SIGNALS",
    "Definition",
    "Number",
    "filled",
    "pods_of",
    "quoted",
    "readings",
    "seconds",
    "snapshot",
    "together",
]
