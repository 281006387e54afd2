"""The picture: replica-hours against attainment, and each policy over time.  SVG, written by hand:
a plotting library would be the largest thing in the operator's image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from batchfleet_operator.simulate.run import Moment

COLOURS = ("#0b6e4f", "#c0392b", "#e67e22", "#8e44ad", "#2471a3", "#7f8c8d", "#b7950b", "#34495e")
WIDTH, PARETO_HEIGHT, ROW_HEIGHT = 900, 420, 150
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 34, 44


@dataclass(frozen=True, slots=True)
class Point:
    """One policy at one setting."""

    family: str
    label: str
    replica_hours: float
    attainment: float  # 0 to 1


@dataclass(frozen=True, slots=True)
class Line:
    """One policy over time."""

    label: str
    series: Sequence[Moment]


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    begin: float  # pixels
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1)
        return self.begin + min(max(share, 0.0), 1.0) * (self.end - self.begin)

    def ticks(self) -> list[float]:
        step = _round((self.high - self.low) / 5)
        first = math.ceil(self.low / step)
        last = math.floor(self.high / step + 1e-9)
        return [step * k for k in range(first, last + 1)]


def picture(title: str, points: Sequence[Point], lines: Sequence[Line] = ()) -> str:
    """The whole SVG file."""
    height = PARETO_HEIGHT + ROW_HEIGHT * len(lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(LEFT, 20, title, size=14),
        *_pareto(points),
    ]
    for k, line in enumerate(lines):
        parts += _row(line, PARETO_HEIGHT + k * ROW_HEIGHT)
    return "\n".join([*parts, "</svg>", ""])


def _pareto(points: Sequence[Point]) -> list[str]:
    if not points:
        return []
    least = min(point.attainment for point in points)
    hours = [point.replica_hours for point in points]
    x = _Axis(0.9 * min(hours), 1.05 * max(hours), LEFT, WIDTH - RIGHT)
    low = max(math.floor(100 * least - 1), 0)
    y = _Axis(low, 100, PARETO_HEIGHT - BOTTOM, TOP)
    out = _frame(x, y, "replica-hours", "attained, %")
    for k, family in enumerate(dict.fromkeys(point.family for point in points)):
        colour = COLOURS[k % len(COLOURS)]
        mine = sorted(
            (p for p in points if p.family == family), key=lambda point: point.replica_hours
        )
        path = " ".join(f"{x(p.replica_hours):.1f},{y(100 * p.attainment):.1f}" for p in mine)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
        for point in mine:
            at = f'cx="{x(point.replica_hours):.1f}" cy="{y(100 * point.attainment):.1f}"'
            said = escape(
                f"{point.label}: {100 * point.attainment:.2f} %, {point.replica_hours:.0f} h"
            )
            out.append(f'<circle {at} r="4" fill="{colour}"><title>{said}</title></circle>')
        out.append(_text(WIDTH - RIGHT + 28, TOP + 18 * k + 10, family))
        out.append(
            f'<circle cx="{WIDTH - RIGHT + 18}" cy="{TOP + 18 * k + 6}" r="5" fill="{colour}"/>'
        )
    return out


def _row(line: Line, top: float) -> list[str]:
    series = line.series
    if not series:
        return []
    most = max(1, *(moment.pods for moment in series))
    rate = max(0.1, *(moment.offered_per_second for moment in series))
    x = _Axis(0, series[-1].at / 3600, LEFT, WIDTH - RIGHT)
    y = _Axis(0, most, top + ROW_HEIGHT - BOTTOM, top + 12)
    out = _frame(x, y, "hours", "pods")
    scaled = [(m.at / 3600, most * m.offered_per_second / rate) for m in series]
    out.append(_polyline(x, y, scaled, "#cccccc"))
    out.append(_polyline(x, y, [(m.at / 3600, m.asked) for m in series], COLOURS[1]))
    out.append(_polyline(x, y, [(m.at / 3600, m.serving) for m in series], COLOURS[0]))
    side = WIDTH - RIGHT + 14
    out.append(_text(side, top + 24, line.label, size=13))
    told = (
        (f"offered (top: {rate:.0f}/s)", "#999999"),
        ("asked", COLOURS[1]),
        ("serving", COLOURS[0]),
    )
    for k, (said, colour) in enumerate(told):
        out.append(_text(side, top + 42 + 16 * k, said, colour=colour))
    return out


def _frame(x: _Axis, y: _Axis, name_x: str, name_y: str) -> list[str]:
    out = []
    for value in y.ticks():
        at = y(value)
        out.append(f'<path d="M{x.begin} {at:.1f}H{x.end}" stroke="#eeeeee"/>')
        out.append(_text(x.begin - 6, at + 4, f"{value:g}", anchor="end"))
    for value in x.ticks():
        out.append(_text(x(value), y.begin + 16, f"{value:g}", anchor="middle"))
    out.append(f'<path d="M{x.begin} {y.end}V{y.begin}H{x.end}" stroke="#333333" fill="none"/>')
    out.append(_text((x.begin + x.end) / 2, y.begin + 32, name_x, anchor="middle"))
    out.append(
        f'<text transform="translate({x.begin - 44} {(y.begin + y.end) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(name_y)}</text>'
    )
    return out


def _polyline(x: _Axis, y: _Axis, values: Sequence[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in values)
    return f'<polyline points="{path}" fill="none" stroke="{colour}"/>'


def _text(
    x: float, y: float, said: str, size: int = 12, anchor: str = "start", colour: str = "#222222"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{colour}">{escape(said)}</text>'
    )


def _round(step: float) -> float:
    """The next of 1, 2, 5 × 10ⁿ."""
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next(power * k for k in (1, 2, 5, 10) if power * k >= step)
