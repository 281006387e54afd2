"""Merging and the cache: what do they save, and what keeps more from being saved?"""

from __future__ import annotations

from typing import Final

from batchfleet_operator.dashboards.fleet import VARIABLES
from batchfleet_operator.dashboards.panels import Dashboard, Query, Row, graph
from batchfleet_operator.dashboards.series import (
    NAMED,
    mean,
    number,
    quantile,
    rate,
    share,
    total,
)
from batchfleet_operator.metering.promql import SERVICE
from batchfleet_operator.metering.promql import fleet as definitions

OFFERED: Final = number(definitions.OFFERED)

GAIN: Final = Row(
    "Gain",
    (
        graph(
            "Shared an engine call",
            "Share of the requests that joined an equal one and made no call of their own.",
            "percentunit",
            Query(share(rate("batchfleet_requests_merged_total", SERVICE), OFFERED), NAMED),
            most=1,
        ),
        graph(
            "Would have shared one",
            "The same in mode Observe: what Enforce would bring.",
            "percentunit",
            Query(share(rate("batchfleet_requests_would_merge_total", SERVICE), OFFERED), NAMED),
            most=1,
        ),
        graph(
            "Tokens served for each computed",
            "Completion tokens that clients got, for each that an engine computed; 1: no gain.",
            "short",
            Query(
                share(
                    rate("batchfleet_tokens_served_total", SERVICE, 'kind="completion"'),
                    rate("batchfleet_tokens_computed_total", SERVICE, 'kind="completion"'),
                ),
                NAMED,
            ),
        ),
    ),
)

MERGING: Final = Row(
    "Merging",
    (
        graph(
            "Not merged",
            "Requests that could not share a call, by the reason.",
            "reqps",
            Query(f"{rate('batchfleet_requests_not_merged_total', 'reason')} > 0", "{{reason}}"),
            stacked=True,
        ),
        graph(
            "Clients of an engine call",
            "How many clients shared one call: the mean, and the 99th percentile.",
            "short",
            Query(mean("batchfleet_subscribers_per_flight", SERVICE), f"mean {NAMED}"),
            Query(quantile(0.99, "batchfleet_subscribers_per_flight", SERVICE), f"p99 {NAMED}"),
        ),
        graph(
            "Across forms, and past joining",
            "Whole answers taken from another client's stream; calls that could not be joined any "
            "more before their end; requests passed on alone for a fault in merging itself.",
            "ops",
            Query(f"sum({rate('batchfleet_requests_crossed_total', SERVICE)})", "crossed"),
            Query(rate("batchfleet_replays_closed_total", "cause"), "closed: {{cause}}"),
            Query(f"sum({rate('batchfleet_fallthrough_total', SERVICE)})", "fell through"),
        ),
    ),
)

CACHE: Final = Row(
    "Cache",
    (
        graph(
            "Answered from the cache",
            "Share of the looks into the cache that found an answer.",
            "percentunit",
            Query(
                share(
                    rate("batchfleet_cache_hits_total", SERVICE),
                    f"{rate('batchfleet_cache_hits_total', SERVICE)}\n"
                    f"+ {rate('batchfleet_cache_misses_total', SERVICE)}",
                ),
                NAMED,
            ),
            most=1,
        ),
        graph(
            "Size",
            "What the caches hold.",
            "bytes",
            Query(total("batchfleet_cache_bytes", SERVICE), NAMED),
        ),
        graph(
            "Stored, declined, evicted",
            "Answers put into the cache; too large for it; and those that left it, by the reason.",
            "ops",
            Query(f"sum({rate('batchfleet_cache_stored_total', SERVICE)})", "stored"),
            Query(f"sum({rate('batchfleet_cache_declined_total', SERVICE)})", "declined"),
            Query(rate("batchfleet_cache_evicted_total", "reason"), "evicted: {{reason}}"),
        ),
    ),
)

DASHBOARD: Final = Dashboard(
    "batchfleet-merging",
    "batchfleet / Merging",
    "What merging and the cache save.",
    VARIABLES,
    (GAIN, MERGING, CACHE),
)
