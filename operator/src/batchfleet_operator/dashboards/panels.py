"""A small vocabulary for Grafana dashboards: panels as values, a dashboard as rows of them.

``dashboards`` says what is on them; here is only how Grafana wants it written.  Positions and ids
come from the order, so nobody counts them by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Json = dict[str, Any]
Unit = Literal["short", "reqps", "percentunit", "s", "bytes", "Bps", "ops"]

WIDTH: Final = 24  # of Grafana's grid
SCHEMA_VERSION: Final = 39
SOURCE: Final[Json] = {"type": "prometheus", "uid": "${source}"}
_GREEN, _YELLOW, _RED = "green", "yellow", "red"


@dataclass(frozen=True)
class Query:
    """One expression, and what its series are called."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One picture.  It is coloured from ``warn`` and ``bad`` on; ``bad < warn``: downwards."""

    title: str
    description: str
    unit: Unit
    queries: Sequence[Query]
    kind: Literal["timeseries", "stat", "table", "bargauge"] = "timeseries"
    warn: float | None = None
    bad: float | None = None
    most: float | None = None  # the axis' end
    stacked: bool = False
    width: int = 8
    height: int = 7


def graph(
    title: str,
    description: str,
    unit: Unit,
    *queries: Query,
    warn: float | None = None,
    bad: float | None = None,
    most: float | None = None,
    stacked: bool = False,
) -> Panel:
    """Lines over time."""
    return Panel(title, description, unit, queries, warn=warn, bad=bad, most=most, stacked=stacked)


def stat(
    title: str,
    description: str,
    unit: Unit,
    query: Query,
    *,
    warn: float | None = None,
    bad: float | None = None,
) -> Panel:
    """One large number, as it is now."""
    return Panel(
        title, description, unit, [query], kind="stat", warn=warn, bad=bad, width=4, height=4
    )


def table(title: str, description: str, unit: Unit, query: Query) -> Panel:
    """A line for each series, and its labels as columns, as they are now."""
    return Panel(title, description, unit, [query], kind="table", width=WIDTH // 2)


def bars(title: str, description: str, unit: Unit, query: Query) -> Panel:
    """A bar for each series: sums over the time that is shown."""
    return Panel(title, description, unit, [query], kind="bargauge")


@dataclass(frozen=True)
class Row:
    """A heading, and what stands below it from left to right."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Variable:
    """A choice at the top: values of ``label`` of the series ``of``."""

    name: str
    label: str
    of: str
    several: bool = True


@dataclass(frozen=True)
class Dashboard:
    """A page."""

    uid: str
    title: str
    description: str
    variables: Sequence[Variable]
    rows: Sequence[Row]

    @property
    def panels(self) -> Sequence[Panel]:
        return [panel for row in self.rows for panel in row.panels]


def as_json(dashboard: Dashboard) -> Json:
    """What Grafana imports."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["batchfleet"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "title": "batchfleet",
                "type": "dashboards",
                "tags": ["batchfleet"],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": [_source(), *map(_variable, dashboard.variables)]},
        "annotations": {"list": []},
        "panels": _laid_out(dashboard.rows),
    }


def _laid_out(rows: Sequence[Row]) -> list[Json]:
    made: list[Json] = []
    y = 0
    for row in rows:
        at = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        made.append(
            {
                "id": len(made) + 1,
                "type": "row",
                "title": row.title,
                "collapsed": False,
                "gridPos": at,
                "panels": [],
            }
        )
        y, x, tallest = y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            at = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            made.append({"id": len(made) + 1, "gridPos": at, **_panel(panel)})
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return made


def _panel(panel: Panel) -> Json:
    letters = map(chr, range(ord("A"), ord("Z") + 1))
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "targets": [_target(panel, *each) for each in zip(panel.queries, letters, strict=False)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        **({"transformations": _TABLE} if panel.kind == "table" else {}),
    }


def _target(panel: Panel, query: Query, letter: str) -> Json:
    now = panel.kind != "timeseries"
    return {
        "refId": letter,
        "datasource": SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend,
        "instant": now,
        "range": not now,
        **({"format": "table"} if panel.kind == "table" else {}),
    }


def _defaults(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit, "thresholds": _thresholds(panel), "min": 0}
    if panel.most is not None:
        defaults["max"] = panel.most
    if panel.kind == "timeseries":
        marked = panel.warn is not None or panel.bad is not None
        defaults["custom"] = {
            "fillOpacity": 20 if panel.stacked else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if marked else "off"},
        }
    else:
        defaults["color"] = {"mode": "thresholds"}
    return defaults


def _thresholds(panel: Panel) -> Json:
    """Grafana colours from a value upwards, so what is bad when low begins with the bad colour."""
    warn, bad = panel.warn, panel.bad
    downwards = warn is not None and bad is not None and bad < warn
    colours = (_RED, _YELLOW, _GREEN) if downwards else (_GREEN, _YELLOW, _RED)
    edges = ((bad, colours[1]), (warn, colours[2])) if downwards else ((warn, _YELLOW), (bad, _RED))
    steps: list[Json] = [{"color": colours[0], "value": None}]
    steps += [{"color": colour, "value": edge} for edge, colour in edges if edge is not None]
    return {"mode": "absolute", "steps": steps}


def _options(panel: Panel) -> Json:
    if panel.kind == "table":
        return {"showHeader": True, "cellHeight": "sm"}
    if panel.kind == "timeseries":
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {"reduceOptions": {"calcs": ["lastNotNull"]}, "orientation": "auto"}


_TABLE: Final = [
    {"id": "merge", "options": {}},
    {"id": "organize", "options": {"excludeByName": {"Time": True}}},
]
"""One table of all queries, without the moment that is the same everywhere."""


def _source() -> Json:
    """Which Prometheus, where Grafana knows several."""
    return {
        "name": "source",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,  # once, when the page is opened
        "multi": False,
        "includeAll": False,
    }


def _variable(variable: Variable) -> Json:
    query = f"label_values({variable.of}, {variable.label})"
    return {
        "name": variable.name,
        "label": variable.name,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": variable.name},
        "refresh": 2,  # whenever the time changes: services come and go
        "sort": 1,
        "multi": variable.several,
        "includeAll": variable.several,
        **({"allValue": ".*"} if variable.several else {}),
    }
