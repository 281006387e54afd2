"""Traces from files: Azure's rows of requests, ServeGen's windows of rates.  Plain or gzipped CSV.

Azure/AzurePublicDataset (LLM inference 2023) has one row per request.  alibaba/ServeGen has one
row per client and window with a rate, and the law of the gaps between its arrivals: requests are
drawn from it, each client by itself, so bursts of single clients are there.
"""

from __future__ import annotations

import csv
import gzip
import math
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from batchfleet_operator.simulate.trace import (
    Lengths,
    Trace,
    TraceError,
    log_normal,
    of_requests,
    with_lengths,
)

DAY_SECONDS = 86_400
WINDOW_SECONDS = 600  # of ServeGen's rows
AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
SERVEGEN_COLUMNS = ("client", "window_start_s", "rate_rps", "pattern", "pattern_param1")
NOBODY = (0.0, "", 1.0)
LEAST_SHAPE = 0.05
"""Of a gap's law; below, one gap would be longer than the day."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of a file, and how big; past its end it begins anew.  ``mean_rate`` None: the
    file's own."""

    seed: int = 0
    day: int = 0
    start: float = 0.0  # seconds into the day (or file) that become 0; ServeGen: to 10 minutes
    mean_rate: float | None = None  # of the whole day (or file)
    hours: float | None = None  # only so many; None: all


def read(path: Path, wanted: Wanted, lengths: Lengths | None = None) -> Trace:
    """The trace in ``path``, whichever of the two kinds it is; raises TraceError.

    ``lengths`` are for ServeGen's, which has none.
    """
    rows = _rows(path)
    try:
        first = next(rows)
    except StopIteration:
        raise TraceError(f"{path}: no rows. Is it the right file?") from None
    try:
        if all(name in first for name in AZURE_COLUMNS):
            return _azure(path, first, rows, wanted)
        if all(name in first for name in SERVEGEN_COLUMNS):
            return _servegen(path, first, rows, wanted, lengths)
    except (ValueError, KeyError, TypeError) as error:
        raise TraceError(f"{path}: a row cannot be read: {error}") from error
    raise TraceError(
        f"{path}: columns {', '.join(first)} are of no kind that is known. Wanted: "
        f"{','.join(AZURE_COLUMNS)} (one row per request), or {','.join(SERVEGEN_COLUMNS)} "
        "(one row per client and window)."
    )


def azure_lengths(path: Path) -> Lengths:
    """The lengths of Azure's requests, for traces that have none."""
    pairs = [
        (int(row["ContextTokens"]), max(int(row["GeneratedTokens"]), 1))
        for row in _rows(path)
        if row.get("ContextTokens") and row.get("GeneratedTokens")
    ]
    if not pairs:
        raise TraceError(f"{path}: has no ContextTokens and GeneratedTokens; give an Azure trace.")
    return Lengths(pairs)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open("rb") as probe:
            packed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rt") if packed else path.open() as file:
            yield from csv.DictReader(file)
    except FileNotFoundError:
        raise TraceError(
            f"{path}: no such file. Give an Azure or ServeGen trace (CSV, may be gzipped), or try "
            "synthetic:burst, which needs none."
        ) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from error


def _azure(
    path: Path, first: dict[str, str], rest: Iterator[dict[str, str]], wanted: Wanted
) -> Trace:
    rng = random.Random(wanted.seed)  # noqa: S311
    began = _timestamp(first["TIMESTAMP"])
    rows = [(0.0, int(first["ContextTokens"]), int(first["GeneratedTokens"]))]
    for row in rest:
        at = (_timestamp(row["TIMESTAMP"]) - began).total_seconds()
        rows.append((at, int(row["ContextTokens"]), int(row["GeneratedTokens"])))
    seconds = max(row[0] for row in rows) + 1.0
    if wanted.mean_rate is not None:
        rows = _scaled(rows, seconds, wanted.mean_rate, rng)
    trace = of_requests(_name(path), seconds, rows, wanted.start)
    return trace if wanted.hours is None else trace.cut(3600 * wanted.hours)


def _scaled(
    rows: list[tuple[float, int, int]], seconds: float, rate: float, rng: random.Random
) -> list[tuple[float, int, int]]:
    """More by laying copies over each other, each turned by a random time; less by leaving out."""
    ratio = rate * seconds / len(rows)
    copies = math.ceil(ratio)
    kept: list[tuple[float, int, int]] = []
    for copy in range(copies):
        turn = rng.random() * seconds if copy else 0.0
        for at, prompt, output in rows:
            if rng.random() < ratio / copies:
                kept.append(((at + turn) % seconds, prompt, output))
    return kept


def _servegen(
    path: Path,
    first: dict[str, str],
    rest: Iterator[dict[str, str]],
    wanted: Wanted,
    lengths: Lengths | None,
) -> Trace:
    rng = random.Random(wanted.seed)  # noqa: S311
    windows: dict[str, dict[int, tuple[float, str, float]]] = defaultdict(dict)
    days = set()
    total = 0.0
    for row in (first, *rest):
        at = int(row["window_start_s"])
        days.add(at // DAY_SECONDS)
        if at // DAY_SECONDS == wanted.day:
            law = (float(row["rate_rps"]), row["pattern"], float(row["pattern_param1"]))
            windows[row["client"]][at % DAY_SECONDS // WINDOW_SECONDS] = law
            total += law[0] * WINDOW_SECONDS
    if not windows:
        there = ", ".join(str(day) for day in sorted(days))
        raise TraceError(f"{path}: has no day {wanted.day}. Give one of these: {there}.")
    scale = 1.0 if wanted.mean_rate is None else wanted.mean_rate * DAY_SECONDS / total
    seconds = min(3600 * (wanted.hours or 24), DAY_SECONDS)
    begin = int(wanted.start // WINDOW_SECONDS)
    count = math.ceil(seconds / WINDOW_SECONDS)
    order = [(begin + k) % (DAY_SECONDS // WINDOW_SECONDS) for k in range(count)]
    arrivals: list[float] = []
    for client in windows.values():
        arrivals += _client([client.get(k, NOBODY) for k in order], scale, rng)
    name = f"{_name(path)} day {wanted.day}"
    known = lengths or log_normal(rng)
    return with_lengths(name, seconds, (at for at in arrivals if at < seconds), known, rng)


def _client(
    windows: Sequence[tuple[float, str, float]], scale: float, rng: random.Random
) -> Iterator[float]:
    """One client's arrivals over windows that follow each other.

    Gaps of mean 1 are laid along the integral of the rate, so that a gap longer than a window
    goes on in the next one, and the mean rate is kept however bursty the client is.
    """
    due = rng.random()  # the rate's integral at which the next one comes
    done = 0.0
    for number, (rate, pattern, shape) in enumerate(windows):
        mass = rate * scale * WINDOW_SECONDS
        while due < done + mass:
            yield (number + (due - done) / mass) * WINDOW_SECONDS
            due += _gap(pattern, max(shape, LEAST_SHAPE), rng)
        done += mass


def _gap(pattern: str, shape: float, rng: random.Random) -> float:
    """A gap between two arrivals, in mean gaps."""
    if pattern == "Gamma":
        return rng.gammavariate(shape, 1 / shape)
    if pattern == "Weibull":
        return rng.weibullvariate(1 / math.gamma(1 + 1 / shape), shape)
    return rng.expovariate(1.0)


def _timestamp(text: str) -> datetime:
    """Azure's have seven digits of a second."""
    return datetime.fromisoformat(text.strip()[:26])


def _name(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".csv")
