"""``python -m bench.autoscale``: attainment against replica-hours, for every policy.

The simulator of the operator replays ServeGen's days with random starts and three cold starts.
Every policy runs with a sweep of settings, the same for all days.  Baselines are compared twice:
at the setting that was best on another day, and, in their favour, at the cheapest mix of settings
with hindsight.  Then the faults.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from batchfleet_operator.simulate.catalogue import BY_NAME
from batchfleet_operator.simulate.plot import Point, picture
from batchfleet_operator.simulate.readers import Wanted
from batchfleet_operator.simulate.trace import TraceError
from bench import cache
from bench.autoscale import compiled, faulty, frontier
from bench.autoscale.frontier import Pooled
from bench.autoscale.grid import MEAN_RATE, Cell, Stretch, Task, settings, stretches, work_off
from bench.report import CANNOT_RUN, Bar, Report, arguments, at_least_one, finish

TRACES = Path(__file__).resolve().parents[2].parent / "shared" / "traces"
SERVEGEN = "servegen_m-large_days0-6.csv.gz"
CONVERSATIONS = "azure_llm_2023_conv.csv.gz"
DAYS = (0, 1)
COLD_STARTS = (60.0, 180.0, 420.0)
HOURS = 6.0
OURS, OUR_TARGET = "batchfleet", BY_NAME["batchfleet"].default
RIVALS = ("hpa", "kpa", "kpa-delay")
LEVELS = (0.97, 0.98, 0.99, 0.995)
WANTED_PERCENT = 25.0
AZURE = "azure conv"
COMPILED = "BENCH_AUTOSCALE_COMPILED"
"""In the environment of the process that runs with the compiled simulator."""


def main() -> int:
    options = _options()
    servegen, lengths = options.traces / SERVEGEN, options.traces / CONVERSATIONS
    missing = [path.name for path in (servegen, lengths) if not path.exists()]
    if missing:
        print(
            f"{options.traces}: {' and '.join(missing)} not there. Give the folder that has the "
            "training traces with --traces DIR (its README says where they come from); without "
            "any, batchfleet-operator simulate --trace synthetic:day shows the same policies.",
            file=sys.stderr,
        )
        return CANNOT_RUN
    if not options.plain and COMPILED not in os.environ:
        _begin_compiled()
    try:
        report = _measure(options, servegen, lengths)
    except TraceError as error:
        print(error, file=sys.stderr)
        return CANNOT_RUN
    return finish(report, options)


def _begin_compiled() -> None:
    """This program anew, with the compiled simulator; where that cannot be had, say so and stay."""
    try:
        place = compiled.simulator()
    except cache.MissingError as error:
        print(f"{error}\nThe simulator runs as it is, two to three times slower.", file=sys.stderr)
        return
    paths = os.pathsep.join(filter(None, (str(place), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, COMPILED: "1"}
    os.execve(  # noqa: S606
        sys.executable, [sys.executable, "-m", "bench.autoscale", *sys.argv[1:]], environment
    )


def _options() -> argparse.Namespace:
    parser = arguments("autoscale", (__doc__ or "").splitlines()[0])
    parser.add_argument("--traces", type=Path, default=TRACES, metavar="DIR", help="(%(default)s)")
    parser.add_argument("--days", type=int, nargs="+", default=DAYS, help="of ServeGen (0 1)")
    parser.add_argument("--starts", type=at_least_one, default=5, help="per day (5)")
    parser.add_argument("--hours", type=float, default=HOURS, help="from each start (6)")
    parser.add_argument("--cold-starts", type=float, nargs="+", default=COLD_STARTS, metavar="S")
    parser.add_argument("--policies", nargs="+", default=list(BY_NAME), choices=list(BY_NAME))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="do not compile the simulator")
    parser.add_argument("--jobs", type=at_least_one, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the last cold start")
    options = parser.parse_args()
    if options.quick:
        options.starts, options.hours, options.cold_starts = 1, 1.5, (180.0,)
        options.policies = [OURS, *RIVALS, "static"]
    return options


def _measure(options: argparse.Namespace, servegen: Path, lengths: Path) -> Report:
    report = Report("autoscale", options.quick)
    chosen = settings(options.policies, few=options.quick)
    cold_starts = tuple(options.cold_starts)
    parts = [
        stretch
        for day in options.days
        for stretch in stretches(
            _day(day), servegen, day, options.starts, options.hours, options.seed
        )
    ]
    if not options.quick:
        parts.append(Stretch(AZURE, lengths, Wanted(options.seed, mean_rate=MEAN_RATE)))
    cells = work_off([Task(part, lengths, cold_starts, chosen) for part in parts], options.jobs)
    for cold_start in cold_starts:
        here = [cell for cell in cells if cell.cold_start == cold_start]
        days = [cell for cell in here if cell.trace != AZURE]
        _points(report, cold_start, frontier.pool(days))
        _tuned(report, cold_start, days, [_day(day) for day in options.days])
        _levels(report, f"ServeGen, cold start {cold_start:g} s", frontier.pool(days))
        flat = [cell for cell in here if cell.trace == AZURE]
        if flat:
            _levels(report, f"Azure's flat hour, cold start {cold_start:g} s", frontier.pool(flat))
    _bars(report, cells, cold_starts)
    faulty.add(report)
    report.notes.append(
        f"ServeGen days {', '.join(map(str, options.days))}, scaled to {MEAN_RATE:g} requests/s, "
        f"{options.starts} random starts of {options.hours:g} h each; replica-hours are per day. "
        "Attained: time to first token ≤ 2 s and mean time between tokens ≤ 75 ms, of all "
        "requests. A dash: no setting of the sweep reaches it."
    )
    if options.plot is not None:
        options.plot.write_text(_plot(cells, cold_starts[-1]))
        report.notes.append(f"The picture is in {options.plot}.")
    return report


def _day(day: int) -> str:
    return f"day {day}"


def _points(report: Report, cold_start: float, points: Sequence[Pooled]) -> None:
    for point in points:
        report.add(
            f"Every setting, ServeGen, cold start {cold_start:g} s",
            policy=point.label,
            attained=f"{100 * point.attainment:.2f} %",
            replica_hours=point.replica_hours,
            actions=point.actions,
            reversals=point.reversals,
        )


def _tuned(report: Report, cold_start: float, cells: Sequence[Cell], days: Sequence[str]) -> None:
    """Each policy on a day, at the setting that was cheapest on the other days for what we attain
    there."""
    for day in days:
        other = frontier.pool([cell for cell in cells if cell.trace != day])
        here = frontier.pool([cell for cell in cells if cell.trace == day])
        if not other:
            continue
        ours_there = frontier.of(other, OURS, OUR_TARGET)[0]
        ours_here = frontier.of(here, OURS, OUR_TARGET)[0]
        for policy in dict.fromkeys(point.policy for point in here):
            tuned = (
                ours_there
                if policy == OURS
                else frontier.cheapest(frontier.of(other, policy), ours_there.attainment)
            )
            if tuned is None:
                continue
            seen = frontier.of(here, policy, tuned.setting)[0]
            report.add(
                f"Tuned on another day, cold start {cold_start:g} s",
                on=day,
                policy=seen.label,
                attained=f"{100 * seen.attainment:.2f} %",
                replica_hours=seen.replica_hours,
                against_ours=f"{100 * (seen.replica_hours / ours_here.replica_hours - 1):+.0f} %",
                actions=seen.actions,
            )


def _levels(report: Report, title: str, points: Sequence[Pooled]) -> None:
    ours = frontier.of(points, OURS, OUR_TARGET)[0].attainment
    for policy in dict.fromkeys(point.policy for point in points):
        mine = frontier.of(points, policy)
        costs = {f"{100 * level:g} %": frontier.cost(mine, level) for level in LEVELS}
        report.add(
            f"Replica-hours a day to attain, {title}",
            policy=policy,
            **{f"ours ({100 * ours:.2f} %)": frontier.cost(mine, ours)},
            **costs,
        )


def _bars(report: Report, cells: Sequence[Cell], cold_starts: Sequence[float]) -> None:
    saved = []
    for cold_start in cold_starts:
        points = frontier.pool(
            [c for c in cells if c.cold_start == cold_start and c.trace != AZURE]
        )
        ours = frontier.of(points, OURS, OUR_TARGET)[0]
        costs = [frontier.cost(frontier.of(points, name), ours.attainment) for name in RIVALS]
        known = [each for each in costs if each is not None]
        if known:
            saved.append(100 * (1 - ours.replica_hours / min(known)))
            report.add(
                "Against the best of HPA and KPA at our attainment, with hindsight",
                cold_start_s=cold_start,
                ours=ours.replica_hours,
                theirs=min(known),
                saved_percent=saved[-1],
            )
    mean = sum(saved) / len(saved) if saved else None
    report.bars.append(
        Bar("replica-hours saved at equal attainment, %, mean", mean, at_least=WANTED_PERCENT)
    )


def _plot(cells: Sequence[Cell], cold_start: float) -> str:
    points = frontier.pool([c for c in cells if c.cold_start == cold_start and c.trace != AZURE])
    return picture(
        f"ServeGen, cold start {cold_start:g} s: attained against replica-hours a day",
        [Point(p.policy, p.label, p.replica_hours, p.attainment) for p in points],
    )


if __name__ == "__main__":
    sys.exit(main())
