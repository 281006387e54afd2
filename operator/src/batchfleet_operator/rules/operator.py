"""What alerts from the operator's metrics: on itself, and on what it says of each service."""

from __future__ import annotations

from typing import Final

from batchfleet_operator.metering.promql import SERVICE
from batchfleet_operator.rules.alert import OF, OPERATOR, SHARE, Alert, condition
from batchfleet_operator.rules.fleet import UP

ITSELF: Final = (
    Alert(
        "BatchfleetOperatorNotLeading",
        "critical",
        f"absent({OPERATOR}_leading)\n"
        f"or max by (namespace) ({OPERATOR}_leading) == 0\n"
        f"or max by (namespace) (max_over_time({OPERATOR}_leading[1h]))\n"
        f"  unless max by (namespace) ({OPERATOR}_leading)",
        "5m",
        "No operator acts",
        "For five minutes no batchfleet operator has held the lease: what runs goes on, and "
        "nothing is scaled, rolled out or mended.",
    ),
    Alert(
        "BatchfleetReconcileFailing",
        "warning",
        f'sum by (namespace) (rate({OPERATOR}_reconciles_total{{outcome="failed"}}[10m]))\n'
        f"  / (sum by (namespace) (rate({OPERATOR}_reconciles_total[10m])) > 0) > 0.1",
        "15m",
        "The operator's looks at services fail",
        f"{SHARE} of the operator's looks at services have ended in an error for 15 minutes.",
    ),
    Alert(
        "BatchfleetTicksFailing",
        "warning",
        f'sum by (namespace) (rate({OPERATOR}_ticks_total{{outcome="failed"}}[10m]))\n'
        f"  / (sum by (namespace) (rate({OPERATOR}_ticks_total[10m])) > 0) > 0.5\n"
        f"or time() - max by (namespace) ({OPERATOR}_last_tick_timestamp_seconds > 0) > 300",
        "10m",
        "The operator gets no metrics",
        "For ten minutes Prometheus has not given the operator what it asks for: no service "
        "shrinks, and no alert acts.",
    ),
)

AUTOMATION: Final = (
    Alert(
        "BatchfleetServiceNotReady",
        "warning",
        condition("Ready", 'reason!~"Paused|RolledBack"'),
        "30m",
        f"{OF} is not as its spec asks",
        f"{OF} has not been Ready for half an hour; its conditions say why.",
    ),
    Alert(
        "BatchfleetRolledBack",
        "warning",
        condition("Ready", 'reason="RolledBack"'),
        "",
        f"{OF} was rolled back",
        f"The last change of {OF} failed, and its stable revision serves; the spec still asks for "
        "the one that failed.",
    ),
    Alert(
        "BatchfleetMetricsMissing",
        "warning",
        f"{condition('MetricsAvailable')}\n"
        f"or on ({SERVICE})\n"
        f"max by ({SERVICE}) ({OPERATOR}_ready_replicas) > 0 unless on ({SERVICE}) {UP.name}",
        "10m",
        f"There are no metrics of {OF}",
        f"Prometheus knows nothing of {OF}, or nothing recent: it does not shrink, and its alert "
        "actions do nothing.",
    ),
    Alert(
        "BatchfleetRemediationCircuitOpen",
        "warning",
        f'max by ({SERVICE}, rule) ({OPERATOR}_rule_state{{state="Open"}}) == 1',
        "",
        f"Rule {{{{ $labels.rule }}}} of {OF} gave up",
        f"What rule {{{{ $labels.rule }}}} of {OF} did made things worse. It was taken back, and "
        "the rule acts no more for now: a person is needed.",
    ),
    Alert(
        "BatchfleetRuleInvalid",
        "warning",
        f'max by ({SERVICE}, rule) ({OPERATOR}_rule_state{{state="Invalid"}}) == 1',
        "5m",
        f"Rule {{{{ $labels.rule }}}} of {OF} cannot be read",
        f"Rule {{{{ $labels.rule }}}} of {OF} has a query that Prometheus refuses, or that gives "
        "more than one number: it does nothing. status.rules has Prometheus' words.",
    ),
)
