"""``batchfleet-operator simulate``: traces and policies in, a table and a picture out.

The only part of this package that reads options, prints, or writes a file.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batchfleet_operator.simulate import catalogue, faults, readers, synthetic
from batchfleet_operator.simulate.alarms import Alarms
from batchfleet_operator.simulate.catalogue import Chosen, Setting
from batchfleet_operator.simulate.engine import Objectives, Physics
from batchfleet_operator.simulate.faults import Fault
from batchfleet_operator.simulate.fleet import Make
from batchfleet_operator.simulate.options import arguments
from batchfleet_operator.simulate.ours import Batchfleet
from batchfleet_operator.simulate.plot import Line, Point, picture
from batchfleet_operator.simulate.policy import Bounds
from batchfleet_operator.simulate.readers import Wanted
from batchfleet_operator.simulate.run import Outcome, Scenario, run
from batchfleet_operator.simulate.trace import Lengths, Trace, TraceError

OK, FAILED, MISUSED = 0, 1, 2
PROGRAM = "batchfleet-operator simulate"
LINES = 8
"""Time series in one picture."""


def add(parser: argparse.ArgumentParser) -> None:
    """The options of ``simulate``, and what carries them out."""
    arguments(parser)
    parser.set_defaults(command=command)


def command(options: argparse.Namespace) -> int:
    """Exit status: 0, 1 where the picture cannot be written, 2 with a line that says what to do."""
    try:
        asked = _asked(options)
        results = _run_all(asked, _progress())
    except TraceError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return MISUSED
    for trace in asked.traces:
        print(_table(asked, trace, results))
    if options.plot is not None:
        try:
            options.plot.write_text(_picture(asked, results))
        except OSError as error:
            print(f"{PROGRAM}: {options.plot}: {error.strerror}", file=sys.stderr)
            return FAILED
        print(f"\nThe picture is in {options.plot}.")
    return OK


@dataclass(frozen=True, slots=True)
class Asked:
    """The options, understood."""

    traces: Sequence[str]
    policies: Sequence[Chosen]
    cold_starts: Sequence[float]
    starts: int
    wanted: Wanted
    lengths: Lengths | None
    bounds: Bounds
    scenario: Scenario
    alerts: bool


@dataclass(frozen=True, slots=True)
class Result:
    """One run."""

    trace: str
    cold_start: float
    policy: str
    family: str
    outcome: Outcome
    acted: int


def _asked(options: argparse.Namespace) -> Asked:
    low, _, high = options.replicas.partition("-")
    if not (low.isdecimal() and high.isdecimal() and 1 <= int(low) <= int(high)):
        raise TraceError(f"--replicas {options.replicas}: give MIN-MAX, such as 1-40.")
    if options.plot is not None:
        if options.plot.suffix != ".svg":
            raise TraceError(f"--plot {options.plot}: only .svg is drawn; name it FILE.svg.")
        if not options.plot.parent.is_dir():  # said before the runs, not after
            raise TraceError(f"--plot {options.plot}: there is no folder {options.plot.parent}.")
    for name in ("starts", "batch", "first_token", "inter_token", "mean_rate", "hours"):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:  # NaN is not either
            raise TraceError(f"--{name.replace('_', '-')} {value:g}: must be above 0.")
    broken: list[Fault] = [faults.parse(text) for text in options.fault]
    return Asked(
        traces=options.trace.split(","),
        policies=catalogue.parse(options.policy),
        cold_starts=_numbers("--cold-start", options.cold_start),
        starts=options.starts,
        wanted=Wanted(options.seed, options.day, 0.0, options.mean_rate, options.hours),
        lengths=None if options.lengths is None else readers.azure_lengths(options.lengths),
        bounds=Bounds(int(low), int(high)),
        scenario=Scenario(
            make=Make(physics=Physics(batch=options.batch), routing=options.routing, faults=broken),
            objectives=Objectives(options.first_token, options.inter_token / 1000),
            seed=options.seed,
        ),
        alerts=options.alerts,
    )


def _numbers(option: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(0 < each < math.inf for each in numbers):
        raise TraceError(f"{option} {text}: give seconds above 0, such as 180 or 60,180,420.")
    return numbers


def load(spec: str, wanted: Wanted, lengths: Lengths | None) -> Trace:
    """``synthetic:NAME`` or a file; raises TraceError."""
    if spec.startswith(synthetic.PREFIX):
        return synthetic.make(spec, wanted, lengths)
    return readers.read(Path(spec), wanted, lengths)


def _run_all(asked: Asked, progress: Callable[[str], None]) -> list[Result]:
    results: list[Result] = []
    for spec in asked.traces:
        for start in range(asked.starts):
            progress(f"{spec}: reading, start {start + 1} of {asked.starts}")
            trace = load(spec, _started(asked.wanted, start), asked.lengths)
            for cold_start in asked.cold_starts:
                make = replace(asked.scenario.make, cold_start_seconds=cold_start)
                setting = Setting(trace, replace(asked.scenario, make=make), asked.bounds)
                for chosen in asked.policies:
                    progress(f"{trace.name}: cold start {cold_start:g} s, {chosen.label}")
                    results.append(_one(spec, chosen, setting, cold_start, asked.alerts))
    progress("")
    return results


def _one(spec: str, chosen: Chosen, setting: Setting, cold_start: float, alerts: bool) -> Result:
    policy = chosen.policy(setting)
    alarms = Alarms(policy) if alerts and isinstance(policy, Batchfleet) else None
    outcome = run(
        setting.trace,
        policy,
        setting.scenario,
        each=None if alarms is None else alarms.look,
        telling=alarms is not None,
    )
    acted = 0 if alarms is None else alarms.acted
    return Result(spec, cold_start, chosen.label, chosen.entry.name, outcome, acted)


def _started(wanted: Wanted, start: int) -> Wanted:
    """The first start is the beginning; the others are somewhere, with other requests."""
    if not start:
        return wanted
    seed = wanted.seed + start
    somewhere = random.Random(seed).random() * readers.DAY_SECONDS  # noqa: S311
    return replace(wanted, seed=seed, start=somewhere)


COLUMNS = (
    "cold start s",
    "policy",
    "attained %",
    "replica-hours",
    "actions",
    "reversals",
    "refused",
    "TTFT p99 s",
    "least serving",
)


def _table(asked: Asked, spec: str, results: Sequence[Result]) -> str:
    rows = [list(COLUMNS) + (["alert actions"] if asked.alerts else [])]
    requests = 0
    for cold_start in asked.cold_starts:
        for chosen in asked.policies:
            mine = [
                result
                for result in results
                if (result.trace, result.cold_start, result.policy)
                == (spec, cold_start, chosen.label)
            ]
            outcomes = [result.outcome for result in mine]
            n = len(outcomes)
            requests = sum(each.requests for each in outcomes)
            p99 = [o.first_token_p99 for o in outcomes if o.first_token_p99 is not None]
            row = [
                f"{cold_start:g}",
                chosen.label,
                f"{100 * sum(o.attained for o in outcomes) / max(requests, 1):.2f}",
                f"{sum(o.replica_hours for o in outcomes) / n:.1f}",
                f"{sum(o.actions for o in outcomes) / n:.0f}",
                f"{sum(o.reversals for o in outcomes) / n:.0f}",
                f"{sum(o.refused for o in outcomes) / n:.0f}",
                f"{max(p99):.2f}" if p99 else "-",
                f"{min(o.least_serving for o in outcomes)}",
            ]
            rows.append([*row, str(sum(r.acted for r in mine))] if asked.alerts else row)
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if at == 1 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    means = f" (means of {asked.starts} starts)" if asked.starts > 1 else ""
    head = f"\n{spec}: {requests // asked.starts:,} requests{means}, routing "
    return "\n".join([head + asked.scenario.make.routing, *lines])


def _picture(asked: Asked, results: Sequence[Result]) -> str:
    points = [
        Point(r.family, r.policy, r.outcome.replica_hours, r.outcome.attainment) for r in results
    ]
    first = [r for r in results if r.cold_start == asked.cold_starts[0]][: len(asked.policies)]
    lines = [Line(result.policy, result.outcome.series) for result in first[:LINES]]
    return picture(", ".join(asked.traces), points, lines)


def _progress() -> Callable[[str], None]:
    """One line on a terminal, rewritten; nothing where nobody sits."""
    if not sys.stderr.isatty():
        return lambda _: None
    began = time.monotonic()

    def show(said: str) -> None:
        told = f"[{time.monotonic() - began:.0f} s] {said}" if said else ""
        print(f"\r\033[K{told}", end="", file=sys.stderr, flush=True)

    return show
