"""What the operator does by itself: sizes, acts, rolls out, takes back; and how it fares."""

from __future__ import annotations

from typing import Final

from batchfleet_operator.dashboards.panels import (
    Dashboard,
    Query,
    Row,
    Variable,
    bars,
    graph,
    table,
)
from batchfleet_operator.dashboards.series import (
    NAMED,
    OPERATOR,
    WINDOW,
    grown,
    total,
)
from batchfleet_operator.metering.promql import SERVICE

VARIABLES: Final = (
    Variable("namespace", "namespace", f"{OPERATOR}_condition"),
    Variable("service", "service", f'{OPERATOR}_condition{{namespace=~"$namespace"}}'),
)
_WIDE: Final = 12


def _outcomes(counter: str) -> Query:
    metric = f"{OPERATOR}_{counter}_total"
    return Query(f"sum by (outcome) (rate({metric}[{WINDOW}]))", "{{outcome}}")


STATE: Final = Row(
    "State",
    (
        table(
            "What is not as it should be",
            "Conditions that are False, with their reasons; docs/operator.md explains each.",
            "short",
            Query(f"{total(f'{OPERATOR}_condition', f'{SERVICE}, type, reason')} == 0", ""),
        ),
        table(
            "Rules",
            "How each rule of alertActions stands. Open: its action made things worse, and it acts "
            "no more for a while.",
            "short",
            Query(total(f"{OPERATOR}_rule_state", f"{SERVICE}, rule, state, mode"), ""),
        ),
    ),
)

ACTIONS: Final = Row(
    "Actions",
    (
        bars(
            "Actions over this time",
            "By what came of them. Observed: would have been done in mode Enforce. Restored: made "
            "things worse, and was taken back.",
            "short",
            Query(
                f"{grown(f'{OPERATOR}_actions_total', 'rule, action, outcome')} > 0",
                "{{rule}} {{action}}: {{outcome}}",
            ),
        ),
        graph(
            "Under way",
            "Actions that are being done, verified or taken back.",
            "short",
            Query(
                total(f"{OPERATOR}_action_under_way", f"{SERVICE}, rule, action, phase"),
                f"{NAMED} {{{{rule}}}} {{{{action}}}}: {{{{phase}}}}",
            ),
            stacked=True,
        ),
        graph(
            "Batch in force",
            "Most requests in flight per pod, and where that comes from: AlertAction is an "
            "action's doing.",
            "short",
            Query(
                total(f"{OPERATOR}_effective_batch_size", f"{SERVICE}, source"),
                f"{NAMED} ({{{{source}}}})",
            ),
        ),
    ),
)

SIZE: Final = Row(
    "Size",
    (
        graph(
            "Pods",
            "What the autoscaler wants, what exists, and what takes requests.",
            "short",
            Query(total(f"{OPERATOR}_desired_replicas", SERVICE), f"wanted {NAMED}"),
            Query(total(f"{OPERATOR}_replicas", SERVICE), f"existing {NAMED}"),
            Query(total(f"{OPERATOR}_ready_replicas", SERVICE), f"ready {NAMED}"),
        ),
        graph(
            "Demand",
            "Pods that each demand alone would ask for; the highest one decides.",
            "short",
            Query(
                total(f"{OPERATOR}_scaling_demand_replicas", f"{SERVICE}, bound"),
                f"{NAMED} {{{{bound}}}}",
            ),
        ),
        graph(
            "Lead time",
            "How far ahead a fleet is sized: what a pod needs to start, learnt from the last ones.",
            "s",
            Query(total(f"{OPERATOR}_scaling_lead_seconds", SERVICE), NAMED),
        ),
    ),
)

ROLLOUTS: Final = Row(
    "Rollouts and drains",
    (
        graph(
            "Rollouts",
            "Step that each rollout is at, and what it waits for.",
            "short",
            Query(
                total(f"{OPERATOR}_rollout", f"{SERVICE}, revision, step, state", 'state!="Done"'),
                "{{namespace}}/{{revision}} {{step}}: {{state}}",
            ),
            stacked=True,
        ),
        graph(
            "Pods by revision",
            "Ready pods of each revision.",
            "short",
            Query(
                total("batchfleet_ready", f"{SERVICE}, revision"),
                f"{NAMED} revision {{{{revision}}}}",
            ),
            stacked=True,
        ),
        bars(
            "Drains",
            "Requests met by leaving pods: answered, handed back before any work was done, or cut "
            "off. The operator asks the pods for their last word.",
            "short",
            Query(grown(f"{OPERATOR}_drained_requests_total", "outcome"), "{{outcome}}"),
        ),
    ),
)

ITSELF: Final = Row(
    "The operator",
    (
        graph(
            "Looks at services",
            "Each look gathers the facts, plans, and does what is to be done.",
            "ops",
            _outcomes("reconciles"),
        ),
        graph(
            "Snapshots of Prometheus",
            "Each asks for the numbers of all services at once; when they fail nothing shrinks.",
            "ops",
            _outcomes("ticks"),
        ),
        graph(
            "Duration",
            "95th percentile of a look at one service, and of a snapshot of all.",
            "s",
            *[
                Query(
                    "histogram_quantile(0.95, sum by (le) "
                    f"(rate({OPERATOR}_{which}_seconds_bucket[{WINDOW}])))",
                    word,
                )
                for which, word in (("reconcile", "look"), ("tick", "snapshot"))
            ],
            bad=5,
        ),
        graph(
            "Calls to the API server",
            "By what they do; watches are not counted.",
            "ops",
            Query(f"sum by (verb) (rate({OPERATOR}_api_calls_total[{WINDOW}]))", "{{verb}}"),
            stacked=True,
        ),
        graph("Queries", "Questions to Prometheus.", "ops", _outcomes("queries")),
        graph(
            "Services",
            "Services that the operator looks after, and operators that lead: one.",
            "short",
            Query(f"sum({OPERATOR}_services)", "services"),
            Query(f"sum({OPERATOR}_leading)", "leading"),
        ),
    ),
)

DASHBOARD: Final = Dashboard(
    "batchfleet-remediation",
    "batchfleet / Remediation",
    "What the operator does by itself.",
    VARIABLES,
    (STATE, ACTIONS, SIZE, ROLLOUTS, ITSELF),
)
