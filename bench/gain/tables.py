"""From trials to the report: tables, bars, and what must be known to read them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median

from bench.gain.figures import Outcome, merged_at_most, percentile, ratio
from bench.gain.fleet import CACHE_TTL_SECONDS, Arm
from bench.gain.trials import Measured
from bench.gain.workload import ANSWER_TOKENS, Scenario
from bench.report import Bar, Report

_NOTES = (
    "Times direct: the time that direct needed for a list, divided by the time through the sidecar "
    "for the same list (but for a nonce, against the prefix cache); the median over the rounds.",
    f"All requests stream, at temperature 0, {ANSWER_TOKENS} tokens each. TTFT: from the request "
    "to the first byte of the answer's body, over all rounds; in a closed loop of that many "
    "clients direct's is mostly waiting for the engine.",
    f"With cache: merging.cacheTTLSeconds {CACHE_TTL_SECONDS}. No list takes longer than that "
    "through the sidecar, so no answer expires; a repeat that comes later is computed again.",
)


def fill(
    report: Report,
    one: Sequence[Measured],
    many: Sequence[Measured],
    pods: int,
    doubled: Measured | None,
) -> None:
    """``one``: the trials in front of one pod; ``many``: of ``pods``; ``doubled``: direct again,
    with twice the clients."""
    for scenario in _scenarios(one):
        _gain(report, "One pod, times direct", scenario, one)
        value = _ratio(one, scenario, Arm.CACHED)
        report.bars.append(Bar(f"{scenario.name}, times direct", value, at_least=scenario.bar))
    failures = sum(measured.outcome.failures for measured in (*one, *many))
    report.bars.append(Bar("requests without a whole answer", failures, at_most=0))
    waiting = min(each.waiting for each in one if each.trial.arm is Arm.DIRECT)
    report.bars.append(Bar("waiting for direct's engine, the fewest", waiting, at_least=1))
    for scenario in _scenarios(many):
        _gain(report, f"{pods} pods, times direct", scenario, many)
    for scenario in _scenarios(many):
        _fall(report, pods, scenario, one, many)
    _detail(report, "One pod", one)
    _detail(report, f"{pods} pods", many)
    if doubled is not None:
        report.notes.append(_saturation(one, doubled))
    report.notes += _NOTES


def _gain(report: Report, table: str, scenario: Scenario, trials: Sequence[Measured]) -> None:
    report.add(
        table,
        scenario=scenario.name,
        **{"repeats %": 100 * scenario.share, "most": scenario.ceiling},
        **{str(arm): _ratio(trials, scenario, arm) for arm in (Arm.SINGLE_FLIGHT, Arm.CACHED)},
    )


def _fall(
    report: Report,
    pods: int,
    scenario: Scenario,
    one: Sequence[Measured],
    many: Sequence[Measured],
) -> None:
    """How much less merges when a prompt's repeats are spread over pods that know nothing of
    each other."""
    merged = _merged(one, scenario), _merged(many, scenario)
    most = [100 * merged_at_most(each.asked, pods) for each in _of(many, scenario, Arm.CACHED)]
    report.add(
        f"Merged, of one pod and of {pods} behind a Service (with cache)",
        scenario=scenario.name,
        **{
            "one pod %": merged[0],
            f"{pods} pods %": merged[1],
            f"most in {pods} %": fmean(most),
            "falls by %": 100 * (1 - merged[1] / merged[0]) if merged[0] else 0.0,
            "one pod ×": _ratio(one, scenario, Arm.CACHED),
            f"{pods} pods ×": _ratio(many, scenario, Arm.CACHED),
        },
    )


def _detail(report: Report, place: str, trials: Sequence[Measured]) -> None:
    for scenario in _scenarios(trials):
        for arm in Arm:
            mine = _of(trials, scenario, arm)
            if not mine:  # --quick leaves one out
                continue
            ttft = [seconds for each in mine for seconds in each.outcome.ttft_seconds]
            report.add(
                f"{place}: throughput, time to first token, load of the engine",
                scenario=scenario.name,
                arm=str(arm),
                requests=mine[0].outcome.requests,
                **{
                    "requests/s": median(each.outcome.per_second for each in mine),
                    "TTFT P50 ms": _milliseconds(percentile(ttft, 50)),
                    "P99 ms": _milliseconds(percentile(ttft, 99)),
                    "merged %": fmean(100 * each.outcome.merged_share for each in mine),
                    "engine calls": round(fmean(each.engine_calls for each in mine)),
                    "engine CPU s": fmean(each.engine_cpu_seconds for each in mine),
                    "sidecar CPU s": fmean(each.sidecar_cpu_seconds for each in mine),
                    "running": fmean(each.running for each in mine),
                    "waiting": fmean(each.waiting for each in mine),
                },
            )


def _saturation(one: Sequence[Measured], doubled: Measured) -> str:
    scenario = doubled.trial.scenario
    usual = median(each.outcome.per_second for each in _of(one, scenario, Arm.DIRECT))
    return (
        f"Whether direct is saturated: with twice the clients ({scenario.name}) it answers "
        f"{doubled.outcome.per_second:.1f} requests/s instead of {usual:.1f}; "
        f"{doubled.running:.0f} were running and {doubled.waiting:.0f} waiting."
    )


def _scenarios(trials: Sequence[Measured]) -> list[Scenario]:
    return list(dict.fromkeys(each.trial.scenario for each in trials))


def _of(trials: Sequence[Measured], scenario: Scenario, arm: Arm) -> list[Measured]:
    """By round, because ``plan`` goes round by round."""
    return [each for each in trials if each.trial.scenario == scenario and each.trial.arm is arm]


def _outcomes(trials: Sequence[Measured], scenario: Scenario, arm: Arm) -> list[Outcome]:
    return [each.outcome for each in _of(trials, scenario, arm)]


def _ratio(trials: Sequence[Measured], scenario: Scenario, arm: Arm) -> float | None:
    return ratio(_outcomes(trials, scenario, Arm.DIRECT), _outcomes(trials, scenario, arm))


def _merged(trials: Sequence[Measured], scenario: Scenario) -> float:
    outcomes = _outcomes(trials, scenario, Arm.CACHED)
    return fmean(100 * outcome.merged_share for outcome in outcomes)


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
