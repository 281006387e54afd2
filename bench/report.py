"""What every bench prints, writes and checks: rows of figures, the bars they are held to.

A bench fills a :class:`Report`; ``finish`` prints it as tables, writes it where ``--json`` says,
and with ``--check`` turns a missed bar into the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MISSED = 1
CANNOT_RUN = 2
"""Exit status when a program that the bench needs is not there."""


def shape() -> str:
    """The machine's shape, as every figure has to name it."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} × {model}, {pages * size / 2**30:.0f} GiB, {platform.system()}"


@dataclass(frozen=True)
class Bar:
    """One figure and what it is held to.  ``value`` None: it could not be measured, and misses."""

    what: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool:
        if self.value is None:
            return False
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)


@dataclass
class Report:
    """``tables``: title to rows; the rows of one table have the same columns."""

    bench: str
    quick: bool
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    machine: str = field(default_factory=shape)

    def add(self, table: str, **row: Any) -> None:
        """The title names the shape and the units; the row's names become the columns."""
        self.tables.setdefault(table, []).append(row)


def arguments(name: str, description: str) -> argparse.ArgumentParser:
    """The options that all benches share; a bench adds its own."""
    plain = description.replace("``", "")  # of a docstring
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=plain)
    parser.add_argument("--quick", action="store_true", help="a rough look, in under a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--check", action="store_true", help="exit 1 where a bar is missed")
    return parser


def at_least_one(text: str) -> int:
    """An option's value: how many, and none is no measurement."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def finish(report: Report, options: argparse.Namespace) -> int:
    """Print, write, and the exit status: MISSED with ``--check`` where a bar is not met."""
    print(f"\n{report.bench}: {report.machine}{' (--quick)' if report.quick else ''}")
    for title, rows in report.tables.items():
        print(f"\n{title}")
        print(table(rows))
    if report.bars:
        print("\nBars")
        print(
            table(
                [
                    {
                        "bar": bar.what,
                        "measured": bar.value,
                        "wanted": _wanted(bar),
                        "": "met" if bar.met else "MISSED",
                    }
                    for bar in report.bars
                ]
            )
        )
    for note in report.notes:
        print(f"\n{note}")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(_json(report), indent=2) + "\n")
    missed = [bar for bar in report.bars if not bar.met]
    return MISSED if options.check and missed else 0


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as aligned text; the first row names the columns."""
    if not rows:
        return "(none)"
    names = list(rows[0])
    cells = [names] + [[_cell(row.get(name)) for name in names] for row in rows]
    widths = [max(len(row[at]) for row in cells) for at in range(len(names))]
    numeric = [all(isinstance(row.get(name), int | float | None) for row in rows) for name in names]
    lines = [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join("  " + line for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _wanted(bar: Bar) -> str:
    sides = {"≥": bar.at_least, "≤": bar.at_most}
    return ", ".join(f"{sign} {_cell(side)}" for sign, side in sides.items() if side is not None)


def _json(report: Report) -> dict[str, Any]:
    return {**asdict(report), "bars": [{**asdict(bar), "met": bar.met} for bar in report.bars]}
