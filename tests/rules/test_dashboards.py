"""The dashboards are what Grafana imports, and ask for metrics that exist in words that parse."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchfleet_operator import dashboards, generated
from tests.rules.names import ROOT, asked, known, labels_of
from tests.rules.promtool import promtool

FILES = [ROOT / path for path in dashboards.files()]
PAGE = (ROOT / "docs/monitoring.md").read_text()
UNITS = {"short", "reqps", "ops", "percentunit", "s", "bytes", "Bps"}
"""Grafana's own names of units, of those that a panel here may have."""


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(request.param.read_text())
    return read


def _panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def _expressions(board: dict[str, Any]) -> Iterator[str]:
    for panel in _panels(board):
        for target in panel["targets"]:
            yield target["expr"]


def test_the_files_are_current() -> None:
    assert generated.stale(dashboards.files(), ROOT) == []


def test_no_two_dashboards_share_an_identity() -> None:
    uids = [json.loads(file.read_text())["uid"] for file in FILES]
    assert len(set(uids)) == len(FILES)


def test_no_two_panels_share_an_id_a_title_or_a_place(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken = [
        (x, y)
        for at in (panel["gridPos"] for panel in board["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


def test_every_panel_says_what_it_shows_and_in_which_unit(board: dict[str, Any]) -> None:
    for panel in _panels(board):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]


def test_every_panel_obeys_the_choices_at_the_top(board: dict[str, Any]) -> None:
    """But for what is about the operator itself, which no service is chosen for."""
    names = {variable["name"] for variable in board["templating"]["list"]}
    assert names == {"source", "namespace", "service"}
    own = ("ALERTS", "batchfleet_operator_")
    for expr in _expressions(board):
        if not any(word in expr for word in own):
            assert "$namespace" in expr, expr
            assert "$service" in expr, expr
    assert all(panel["datasource"]["uid"] == "${source}" for panel in _panels(board))


def test_every_choice_is_one_that_grafana_can_offer(board: dict[str, Any]) -> None:
    source, *others = board["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == (
        "source",
        "datasource",
        "prometheus",
    )
    for variable in others:
        assert (variable["type"], variable["datasource"]["uid"]) == ("query", "${source}")
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert found, variable["name"]
        assert asked(found[1]) <= known()
        assert found[2] == variable["name"]


def test_every_panel_is_written_as_grafana_reads_its_kind(board: dict[str, Any]) -> None:
    for panel in _panels(board):
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        targets = panel["targets"]
        assert len({target["refId"] for target in targets}) == len(targets)
        over_time = panel["type"] == "timeseries"
        for target in targets:
            assert (target["range"], target["instant"]) == (over_time, not over_time)
            assert (target.get("format") == "table") == (panel["type"] == "table")
            assert "$__range" not in target["expr"] or "rate_interval" not in target["expr"]


def test_every_line_is_called_by_labels_that_it_has(board: dict[str, Any]) -> None:
    """Grafana writes nothing for a label that is not there: lines without a name."""
    for panel in _panels(board):
        for target in panel["targets"]:
            grouped = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            labels = {label.strip() for each in grouped for label in each.split(",")} - {""}
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= labels, panel["title"]
            assert target["legendFormat"] or panel["type"] == "table", panel["title"]
            assert labels <= labels_of(asked(target["expr"])), panel["title"]


def test_every_metric_that_is_asked_for_exists(board: dict[str, Any]) -> None:
    there = known()
    unknown = {expr: asked(expr) - there for expr in _expressions(board)}
    assert {expr: names for expr, names in unknown.items() if names} == {}


def test_prometheus_can_read_every_expression(board: dict[str, Any], tmp_path: Path) -> None:
    expressions = [
        expr.replace("$__rate_interval", "5m").replace("$__range", "1h")
        for expr in _expressions(board)
    ]
    group = {
        "name": "panels",
        "rules": [{"record": f"panel:{i}", "expr": e} for i, e in enumerate(expressions)],
    }
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [group]}))
    assert f"{len(expressions)} rules found" in promtool("check", "rules", file)


def test_thresholds_are_steps_upwards(board: dict[str, Any]) -> None:
    for panel in _panels(board):
        first, *others = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert first["value"] is None
        edges = [step["value"] for step in others]
        assert edges == sorted(edges), panel["title"]


def test_the_page_tells_of_every_dashboard(board: dict[str, Any]) -> None:
    assert f"| {board['title']} |" in PAGE
