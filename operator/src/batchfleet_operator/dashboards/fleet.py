"""All services at a glance: which one needs somebody to look?"""

from __future__ import annotations

from typing import Final

from batchfleet_operator.dashboards import resources
from batchfleet_operator.dashboards.panels import Dashboard, Query, Row, Variable, graph, stat
from batchfleet_operator.dashboards.series import (
    NAMED,
    number,
    of,
    rate,
    share,
    total,
)
from batchfleet_operator.metering.promql import NUMBERS, POD, SERVICE
from batchfleet_operator.metering.promql.fleet import COMPLETED, JOINED, KV_USAGE, OFFERED, QUEUED
from batchfleet_operator.remediation.presets import PRESETS

VARIABLES: Final = (
    Variable("namespace", "namespace", "batchfleet_ready"),
    Variable("service", "service", 'batchfleet_ready{namespace=~"$namespace"}'),
)
LOAD: Final = PRESETS["Load"].bound
FIRST_TOKEN_SECONDS: Final = PRESETS["TimeToFirstToken"].bound
BETWEEN_TOKENS_SECONDS: Final = PRESETS["InterTokenLatency"].bound

NOW: Final = Row(
    "Now",
    (
        stat(
            "Services",
            "Services with at least one pod that is scraped.",
            "short",
            Query(f"count({total('batchfleet_ready', SERVICE)})", "services"),
        ),
        stat(
            "Ready pods",
            "Pods that take requests.",
            "short",
            Query(f"sum({of('batchfleet_ready')})", "ready"),
        ),
        stat(
            "Services without a ready pod",
            "They have pods, and none of them takes requests.",
            "short",
            Query(f"count({total('batchfleet_ready', SERVICE)} == 0) or vector(0)", "down"),
            bad=1,
        ),
        stat(
            "Requests",
            "Requests that clients send, refused ones included.",
            "reqps",
            Query(f"sum({number(OFFERED)})", "offered"),
        ),
        stat(
            "Refused",
            "Share of the requests that are answered with an error of the sidecar's own.",
            "percentunit",
            Query(
                share(
                    f"sum({rate('batchfleet_requests_refused_total', SERVICE)})",
                    f"sum({number(OFFERED)})",
                ),
                "refused",
            ),
            warn=0.01,
            bad=0.05,
        ),
        stat(
            "Alerts",
            "Alerts of batchfleet that fire. Their runbooks are in docs/monitoring.md.",
            "short",
            Query(
                'count(ALERTS{alertname=~"Batchfleet.+",alertstate="firing"}) or vector(0)',
                "firing",
            ),
            warn=1,
        ),
    ),
)

WORK: Final = Row(
    "Work",
    (
        graph(
            "Offered",
            "Requests that clients send to each service, refused ones included.",
            "reqps",
            Query(number(OFFERED), NAMED),
        ),
        graph(
            "Load",
            "Calls under way or waiting, as a share of the live limit; above 1 a queue stands.",
            "percentunit",
            Query(number(NUMBERS["Load"].value), NAMED),
            warn=0.7,
            bad=LOAD,
        ),
        graph(
            "Waiting",
            "Calls that wait for a slot in the sidecars.",
            "short",
            Query(number(QUEUED), NAMED),
        ),
    ),
)

ANSWERS: Final = Row(
    "Answers",
    (
        graph(
            "Time to first token, 95th percentile",
            "From a request's arrival at the sidecar to the first bytes of its answer.",
            "s",
            Query(number(NUMBERS["TimeToFirstToken"].value), NAMED),
            bad=FIRST_TOKEN_SECONDS,
        ),
        graph(
            "Time to a whole answer, 95th percentile",
            "From a request's arrival at the sidecar to its last byte; of sidecars older than that "
            "metric, the engine's part of it.",
            "s",
            Query(number(NUMBERS["RequestLatency"].value), NAMED),
        ),
        graph(
            "Time between tokens, 95th percentile",
            "Between two pieces of a stream, as the engine sends them.",
            "s",
            Query(number(NUMBERS["InterTokenLatency"].value), NAMED),
            bad=BETWEEN_TOKENS_SECONDS,
        ),
        graph(
            "Errors",
            "Share of the answers that failed; 429, 503 and the clients' own errors do not count.",
            "percentunit",
            Query(number(NUMBERS["ErrorRate"].value), NAMED),
            warn=0.01,
            bad=PRESETS["ErrorRate"].bound,
        ),
    ),
)

CAPACITY: Final = Row(
    "Capacity",
    (
        graph(
            "Ready pods",
            "Pods of each service that take requests.",
            "short",
            Query(total("batchfleet_ready", SERVICE), NAMED),
        ),
        graph(
            "KV cache",
            "Used share of the fullest pod's KV cache.",
            "percentunit",
            Query(f"max by ({SERVICE}) ({number(KV_USAGE, POD)})", NAMED),
            warn=0.8,
            bad=0.95,
            most=1,
        ),
        graph(
            "Engine calls that end",
            "What the engines get done.",
            "reqps",
            Query(number(COMPLETED), NAMED),
        ),
        graph(
            "Answered without an engine call",
            "Share of the requests that joined an equal one, or came from the cache.",
            "percentunit",
            Query(number(JOINED), NAMED),
            most=1,
        ),
        graph(
            "Tokens served",
            "Tokens that clients got, shared and cached answers counted for each.",
            "ops",
            Query(rate("batchfleet_tokens_served_total", "kind"), "{{kind}}"),
            stacked=True,
        ),
    ),
)

DASHBOARD: Final = Dashboard(
    "batchfleet-fleet",
    "batchfleet / Fleet",
    "All services at a glance.",
    VARIABLES,
    (NOW, WORK, ANSWERS, CAPACITY, resources.row(SERVICE, NAMED)),
)
