"""The alerts fire when they should and only then, by Prometheus' own word; each has a runbook."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from batchfleet_operator import generated, rules
from batchfleet_operator.metrics import Metrics
from batchfleet_operator.rules import fleet
from tests.rules.names import ROOT, asked, known
from tests.rules.promtool import promtool

TESTS = sorted(Path(__file__).parent.glob("*.yaml"))
FILES = [ROOT / path for path in rules.files()]
RULES: list[dict[str, Any]] = [
    rule
    for file in FILES
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = {rule["record"]: rule for rule in RULES if "record" in rule}
RUNBOOKS = (ROOT / rules.RUNBOOKS).read_text()


def test_the_files_are_current() -> None:
    assert generated.stale(rules.files(), ROOT) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_prometheus_can_read_them(file: Path) -> None:
    written = sum(len(group["rules"]) for group in yaml.safe_load(file.read_text())["groups"])
    assert f"{written} rules found" in promtool("check", "rules", "--lint=all", file)


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_they_fire_and_do_not_fire(file: Path) -> None:
    promtool("test", "rules", file)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_seen_to_fire(alert: str) -> None:
    expected = (
        sample["labels"]
        for file in TESTS
        for test in yaml.safe_load(file.read_text())["tests"]
        for each in test["promql_expr_test"]
        for sample in each["exp_samples"]
    )
    assert any(f'alertname="{alert}"' in labels for labels in expected)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_runbook_under_the_address_that_it_gives(alert: str) -> None:
    page, _, anchor = ALERTS[alert]["annotations"]["runbook"].partition("#")
    assert page == rules.RUNBOOKS
    headings = re.findall(r"^#+ (.+)$", RUNBOOKS, re.M)
    assert anchor in [heading.lower() for heading in headings]


def test_no_runbook_is_left_of_an_alert_that_is_gone() -> None:
    assert set(re.findall(r"^### (Batchfleet\w+)$", RUNBOOKS, re.M)) == set(ALERTS)


def test_the_page_explains_every_recorded_series() -> None:
    rows = [f"| `{each.name}` | {each.help} |" for each in fleet.RECORDS]
    assert [row for row in rows if row not in RUNBOOKS] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_metric_that_is_asked_for_exists(rule: dict[str, Any]) -> None:
    assert asked(rule["expr"]) - known() - set(RECORDS) == set()


def test_the_page_explains_every_metric_of_the_operator() -> None:
    families = text_string_to_metric_families(Metrics("1").as_text().decode())
    rows = [(each.name, each.type, each.documentation) for each in families]
    found = re.findall(r"^\| `(\w+?)(?:_total)?` \| (\w+) \|[^|]*\| (.+) \|$", RUNBOOKS, re.M)
    assert [row for row in rows if row not in found] == []
