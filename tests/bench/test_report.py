"""What a reader of a bench's output, and the CI that runs it with --check, can count on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report import MISSED, Bar, Report, arguments, finish, table


@pytest.mark.parametrize(
    ("bar", "met"),
    [
        (Bar("ratio", 0.8, at_least=0.8), True),
        (Bar("ratio", 0.79, at_least=0.8), False),
        (Bar("cost", 20.0, at_most=20), True),
        (Bar("cost", 20.1, at_most=20), False),
        (Bar("share", 0.5, at_least=0.4, at_most=0.6), True),
        (Bar("share", 0.7, at_least=0.4, at_most=0.6), False),
        (Bar("not measured", None, at_most=20), False),
        (Bar("no number", float("nan"), at_most=20), False),
    ],
)
def test_a_bar_is_met_only_by_a_figure_within_it(bar: Bar, met: bool) -> None:
    assert bar.met is met


def test_only_check_turns_a_missed_bar_into_a_failure() -> None:
    report = Report("test", quick=False, bars=[Bar("cost", 21, at_most=20)])
    parser = arguments("test", "A test.")
    assert finish(report, parser.parse_args([])) == 0
    assert finish(report, parser.parse_args(["--check"])) == MISSED
    report.bars = [Bar("cost", 19, at_most=20)]
    assert finish(report, parser.parse_args(["--check"])) == 0


def test_the_file_holds_what_was_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report("test", quick=True, machine="2 × a processor")
    report.add("Throughput", proxy="nginx", **{"requests/s": 50123.4})
    report.bars.append(Bar("ratio", None, at_least=0.8, at_most=1.2))
    report.notes.append("It was a quiet day.")
    path = tmp_path / "new" / "figures.json"

    finish(report, arguments("test", "A test.").parse_args(["--json", str(path)]))

    printed = capsys.readouterr().out
    for text in ("2 × a processor", "--quick", "50,123", "≥ 0.8, ≤ 1.2", "MISSED", "quiet day"):
        assert text in printed
    figures = json.loads(path.read_text())
    assert figures["machine"] == "2 × a processor"
    assert figures["tables"] == {"Throughput": [{"proxy": "nginx", "requests/s": 50123.4}]}
    assert figures["bars"][0]["met"] is False


def test_numbers_stand_under_each_other_and_gaps_show() -> None:
    lines = table([{"proxy": "nginx", "µs": 17.25}, {"proxy": "a slow one", "µs": None}])
    assert lines.splitlines() == [
        "  proxy         µs",
        "  nginx       17.2",
        "  a slow one     –",
    ]
