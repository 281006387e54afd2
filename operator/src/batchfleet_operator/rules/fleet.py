"""What is recorded and what alerts from the pods' own metrics: pure data.

The numbers are those of ``promql`` and the bounds those of ``presets``, so that an alert and a rule
of ``alertActions`` agree on what is broken.  Every alert has a runbook in docs/monitoring.md under
its name.  Missing data fires nothing but ``BatchfleetNotScraped`` and its like: unknown is not
broken.
"""

from __future__ import annotations

from typing import Final

from batchfleet_operator.api.alerts import PresetName
from batchfleet_operator.metering.promql import EVERY, NUMBERS, POD, SERVICE, Definition
from batchfleet_operator.metering.promql.expression import By
from batchfleet_operator.metering.promql.fleet import (
    COMPLETED,
    IN_FLIGHT,
    JOINED,
    KV_USAGE,
    OFFERED,
    QUEUED,
)
from batchfleet_operator.remediation.presets import PRESETS
from batchfleet_operator.rules.alert import OF, OPERATOR, SHARE, Alert, Record, condition

WHICH: Final = "pod {{ $labels.pod }} of " + OF
WANTED: Final = 'reason!="ScaledToZero"'
WINDOW: Final = "5m"
"""Longer than the operator's own: nobody is woken for two scrapes."""
STALLED_WINDOW: Final = "2m"
LEAST_SAMPLES: Final = 20
"""Requests in the window: of fewer, one slow answer would be more than a twentieth."""


def _recorded(definition: Definition, by: By = SERVICE, window: str = WINDOW) -> Record:
    of = "batchfleet:pod" if by == POD else "batchfleet"
    return Record(
        f"{of}:{definition.name}", definition.query(by=by, window=window), definition.help
    )


def _number(preset: PresetName, by: By = SERVICE, window: str = WINDOW) -> Record:
    return _recorded(NUMBERS[preset].value, by, window)


def _over(record: Record, preset: PresetName, by: By = SERVICE) -> str:
    """Over the preset's bound, with enough requests to say so."""
    samples = NUMBERS[preset].samples
    over = f"{record.name} > {PRESETS[preset].bound:g}"
    if samples is None:
        return over
    return f"{over}\nand {samples.query(by=by, window=WINDOW)} > {LEAST_SAMPLES}"


UP: Final = _number("ServiceDown")
QUEUE: Final = _recorded(QUEUED)
WHOLE: Final = _number("RequestLatency")
FIRST_TOKEN: Final = _number("TimeToFirstToken")
BETWEEN_TOKENS: Final = _number("InterTokenLatency")
LOAD: Final = _number("Load")
ERRORS: Final = _number("ErrorRate", POD)
STALLED: Final = _number("EngineStalled", POD, STALLED_WINDOW)
KV: Final = _recorded(KV_USAGE, POD)
RECORDS: Final = (
    UP,
    _recorded(OFFERED),
    _recorded(COMPLETED),
    _recorded(JOINED),
    _recorded(IN_FLIGHT),
    QUEUE,
    WHOLE,
    FIRST_TOKEN,
    BETWEEN_TOKENS,
    LOAD,
    ERRORS,
    STALLED,
    KV,
)

SERVICES: Final = (
    Alert(
        "BatchfleetServiceDown",
        "critical",
        f"({UP.name} < {PRESETS['ServiceDown'].bound:g}\n"
        f"  or on ({SERVICE})\n"
        f"  {condition('Available', WANTED)})\n"
        f"and on ({SERVICE}) max_over_time({UP.name}[6h]) > 0",
        "2m",
        f"{OF} answers nobody",
        f"No pod of {OF}, or next to none, has taken requests for two minutes, and some did in the "
        "last six hours.",
    ),
    Alert(
        "BatchfleetTimeToFirstTokenHigh",
        "warning",
        _over(FIRST_TOKEN, "TimeToFirstToken"),
        "10m",
        f"{OF} is slow to answer",
        f"One of twenty requests of {OF} waits {{{{ $value | humanizeDuration }}}} or longer for "
        "its first token, for ten minutes.",
    ),
    Alert(
        "BatchfleetInterTokenLatencyHigh",
        "warning",
        _over(BETWEEN_TOKENS, "InterTokenLatency"),
        "10m",
        f"{OF} writes slowly",
        f"One of twenty tokens of {OF} comes {{{{ $value | humanizeDuration }}}} or longer after "
        "the one before, for ten minutes.",
    ),
    Alert(
        "BatchfleetQueueGrowing",
        "warning",
        f"min_over_time({QUEUE.name}[10m]) > 0 and deriv({QUEUE.name}[10m]) > 0",
        "10m",
        f"The queue of {OF} grows",
        f"For twenty minutes the queue of {OF} has not been empty, and it still grows.",
    ),
    Alert(
        "BatchfleetLoadHigh",
        "warning",
        _over(LOAD, "Load"),
        "15m",
        f"{OF} is full",
        f"For 15 minutes {SHARE} of the slots of {OF} have been taken or waited for.",
    ),
    Alert(
        "BatchfleetSettingsRefused",
        "warning",
        f"sum by ({SERVICE}) (increase(batchfleet_settings_errors_total{{{EVERY}}}[15m])\n"
        f"  + increase(batchfleet_access_errors_total{{{EVERY}}}[15m])) > 0",
        "",
        f"Pods of {OF} refuse their settings",
        f"Sidecars of {OF} were given settings or keys that they cannot read, and go on with the "
        "last good ones.",
    ),
    Alert(
        "BatchfleetDrainAborted",
        "warning",
        f"sum by ({SERVICE}) "
        f'(increase(batchfleet_drain_requests_total{{outcome="aborted",{EVERY}}}[15m])) > 0\n'
        f"or sum by ({SERVICE}) "
        f'(increase({OPERATOR}_drained_requests_total{{outcome="aborted"}}[15m])) > 0',
        "",
        f"Requests of {OF} were cut off",
        f"A pod of {OF} left before it had answered everything: its drain ran out of time.",
    ),
    Alert(
        "BatchfleetNotScraped",
        "warning",
        f"sum by ({SERVICE}) (up{{{EVERY}}} == bool 0) > 0",
        "10m",
        f"Pods of {OF} are not scraped",
        f"Prometheus has not reached {{{{ $value }}}} pods of {OF} for ten minutes: nothing is "
        "known of them, and the service is not made smaller.",
    ),
)

ENGINES: Final = (
    Alert(
        "BatchfleetErrorsHigh",
        "warning",
        _over(ERRORS, "ErrorRate", POD),
        "5m",
        f"The engine of {WHICH} fails",
        f"{SHARE} of the answers of {WHICH} failed, over five minutes; 429 and 503 do not count.",
    ),
    Alert(
        "BatchfleetEngineStalled",
        "critical",
        f"{STALLED.name} > {PRESETS['EngineStalled'].bound:g}",
        "1m",
        f"The engine of {WHICH} hangs",
        f"The engine of {WHICH} has work, and has done no iteration for two minutes.",
    ),
    Alert(
        "BatchfleetKVCacheFull",
        "warning",
        f"{KV.name} > 0.95",
        "10m",
        f"The KV cache of {WHICH} is full",
        f"{SHARE} of the KV cache of {WHICH} has been taken for ten minutes.",
    ),
    Alert(
        "BatchfleetPreemptions",
        "warning",
        f"sum by ({POD}) (rate(vllm:num_preemptions_total{{{EVERY}}}[10m]))\n"
        f"  / (sum by ({POD}) (rate(vllm:request_success_total{{{EVERY}}}[10m])) > 0) > 0.1",
        "15m",
        f"The engine of {WHICH} throws out what it began",
        f"For each answer the engine of {WHICH} began {{{{ $value | humanize }}}} requests anew: "
        "its memory does not suffice for its batch.",
    ),
    Alert(
        "BatchfleetCircuitOpen",
        "critical",
        f"count by ({SERVICE}) (batchfleet_circuit_open{{{EVERY}}} == 1)",
        "30s",
        f"Engines of {OF} fail every call",
        f"The sidecars of {{{{ $value }}}} pods of {OF} send their engines nothing but a trial "
        "now and then, because every call failed; clients are told 503.",
    ),
)
