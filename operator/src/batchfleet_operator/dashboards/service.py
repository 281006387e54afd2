"""One service, pod by pod: where is the time lost, and which pod is it?"""

from __future__ import annotations

from typing import Final

from batchfleet_operator.dashboards import resources
from batchfleet_operator.dashboards.fleet import BETWEEN_TOKENS_SECONDS, FIRST_TOKEN_SECONDS
from batchfleet_operator.dashboards.panels import (
    Dashboard,
    Panel,
    Query,
    Row,
    Unit,
    Variable,
    graph,
)
from batchfleet_operator.dashboards.series import mean, number, of, quantile, rate, share, total
from batchfleet_operator.metering.promql import NUMBERS
from batchfleet_operator.metering.promql import POD as BY_POD
from batchfleet_operator.metering.promql.fleet import KV_USAGE
from batchfleet_operator.remediation.presets import PRESETS

VARIABLES: Final = (
    Variable("namespace", "namespace", "batchfleet_ready", several=False),
    Variable("service", "service", 'batchfleet_ready{namespace="$namespace"}', several=False),
)
POD: Final = "pod"
NAMED: Final = "{{pod}}"


def _quantiles(histogram: str) -> list[Query]:
    return [Query(quantile(q, histogram, ""), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)]


def _by_pod(title: str, description: str, unit: Unit, expr: str, **more: float) -> Panel:
    return graph(title, description, unit, Query(expr, NAMED), **more)  # type: ignore[arg-type]


REQUESTS: Final = Row(
    "Requests",
    (
        graph(
            "Requests",
            "What clients send, what is let in, and what the engines are asked.",
            "reqps",
            Query(f"sum({rate('batchfleet_requests_offered_total', POD)})", "offered"),
            Query(f"sum({rate('batchfleet_requests_admitted_total', POD)})", "admitted"),
            Query(f"sum({rate('batchfleet_engine_calls_total', POD)})", "engine calls"),
        ),
        graph(
            "Responses",
            "Responses begun, by class of status.",
            "reqps",
            Query(rate("batchfleet_responses_total", "code"), "{{code}}"),
            stacked=True,
        ),
        graph(
            "Refused",
            "Requests answered with an error of the sidecar's own, by its code.",
            "reqps",
            Query(f"{rate('batchfleet_requests_refused_total', 'code')} > 0", "{{code}}"),
            stacked=True,
        ),
        graph(
            "Time to a whole answer",
            "From a request's arrival at the sidecar to its last byte, the queue included. Who "
            "gives up before that counts with the time that it waited; errors do not count.",
            "s",
            *_quantiles("batchfleet_request_seconds"),
        ),
        graph(
            "Time to first token",
            "From a request's arrival at the sidecar to the first bytes of its answer.",
            "s",
            *_quantiles("batchfleet_time_to_first_token_seconds"),
            bad=FIRST_TOKEN_SECONDS,
        ),
        graph(
            "Time between tokens",
            "Between two pieces of a stream, as the engine sends them.",
            "s",
            *_quantiles("batchfleet_inter_token_seconds"),
            bad=BETWEEN_TOKENS_SECONDS,
        ),
        graph(
            "Time in the queue",
            "From a request's arrival until its engine call was sent.",
            "s",
            *_quantiles("batchfleet_queue_wait_seconds"),
        ),
    ),
)

BATCH: Final = Row(
    "Batch",
    (
        graph(
            "In flight",
            "Engine calls under way in each pod, and the lowest and highest live limit.",
            "short",
            Query(total("batchfleet_in_flight", POD), NAMED),
            Query(f"min({of('batchfleet_in_flight_limit')} < Inf)", "lowest limit"),
            Query(f"max({of('batchfleet_in_flight_limit')} < Inf)", "highest limit"),
        ),
        _by_pod(
            "Waiting",
            "Calls that wait for a slot in each sidecar.",
            "short",
            total("batchfleet_queued", POD),
        ),
        graph(
            "Cuts of the limit",
            "Why the adaptive limit was lowered.",
            "ops",
            Query(f"{rate('batchfleet_limit_cuts_total', 'cause')} > 0", "{{cause}}"),
            stacked=True,
        ),
    ),
)

ENGINE: Final = Row(
    "Engine",
    (
        graph(
            "Running and waiting",
            "Sequences in the engines' batches, and in their own queues.",
            "short",
            Query(total("vllm:num_requests_running", POD), f"running {NAMED}"),
            Query(total("vllm:num_requests_waiting", POD), f"waiting {NAMED}"),
        ),
        _by_pod(
            "KV cache",
            "Used share of each pod's KV cache.",
            "percentunit",
            number(KV_USAGE, BY_POD),
            warn=0.8,
            bad=0.95,
            most=1,
        ),
        _by_pod(
            "Preemptions",
            "Requests that an engine threw out and began anew, for want of memory.",
            "ops",
            rate("vllm:num_preemptions_total", POD),
        ),
        graph(
            "Tokens",
            "Tokens that the engines compute.",
            "ops",
            Query(f"sum({rate('vllm:prompt_tokens_total', POD)})", "prompt"),
            Query(f"sum({rate('vllm:generation_tokens_total', POD)})", "generation"),
        ),
        graph(
            "Where the time goes",
            "A mean request's time in the engine, seen when it ends.",
            "s",
            *[
                Query(f"avg({mean(f'vllm:request_{part}_time_seconds', POD)})", part)
                for part in ("queue", "prefill", "decode")
            ],
            stacked=True,
        ),
        _by_pod(
            "Prefix cache",
            "Share of the prompt tokens that were found in the engine's prefix cache.",
            "percentunit",
            share(
                rate("vllm:prefix_cache_hits_total", POD),
                rate("vllm:prefix_cache_queries_total", POD),
            ),
            most=1,
        ),
        _by_pod(
            "Iterations",
            "Steps of each engine: its heartbeat.",
            "ops",
            rate("vllm:iteration_tokens_total_count", POD),
        ),
        _by_pod(
            "Errors",
            "Share of the answers that failed; 429, 503 and the clients' own errors do not count.",
            "percentunit",
            number(NUMBERS["ErrorRate"].value, BY_POD),
            warn=0.01,
            bad=PRESETS["ErrorRate"].bound,
        ),
        graph(
            "Pods by revision",
            "Ready pods of each revision, and pods whose engine fails every call.",
            "short",
            Query(total("batchfleet_ready", "revision"), "revision {{revision}}"),
            Query(f"sum({of('batchfleet_circuit_open')})", "circuit open"),
            stacked=True,
        ),
    ),
)

DASHBOARD: Final = Dashboard(
    "batchfleet-service",
    "batchfleet / Service",
    "One service, pod by pod.",
    VARIABLES,
    (REQUESTS, BATCH, ENGINE, resources.row("namespace, pod", NAMED)),
)
