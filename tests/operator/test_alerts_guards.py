"""What holds an action back, and what people are told of it."""

from __future__ import annotations

import ast
from datetime import timedelta
from pathlib import Path
from typing import Any

from batchfleet_operator.api.alerts import Remediation
from batchfleet_operator.remediation.alerts import judge
from tests.operator.remedied import BEGAN, Fleet, rule

SLOW: dict[str, Any] = {"preset": "InterTokenLatency", "above": "0.08"}
ILL: dict[str, Any] = {"preset": "ErrorRate"}


def slow(**fields: Any) -> Fleet:
    return Fleet([rule(**SLOW, **fields)])


def test_a_pause_holds_everything_and_says_who() -> None:
    fleet = slow()
    fleet.facts = {"paused": True, "why_paused": "the annotation says paused"}
    fleet.ticks(20, 0.12)
    assert (fleet.limit, fleet.why()) == (64, "Paused")
    assert fleet.state().message == "the annotation says paused"
    assert judge(fleet.rules, fleet.case()).condition.reason == "Paused"


def test_a_pause_between_deciding_and_acting_is_heard() -> None:
    fleet = slow()
    fleet.ticks(2, 0.12)
    fleet.now += timedelta(seconds=15)
    fleet.read(0.12)
    fleet.look()
    assert fleet.why() == "Decided"
    fleet.facts = {"paused": True}
    fleet.looks()
    assert (fleet.limit, fleet.outcomes) == (64, [("ScaleBatchSize", "Failed")])


def test_an_edit_of_the_limit_ends_the_automatic_one_and_holds_for_an_hour() -> None:
    fleet = slow()
    fleet.ticks(3, 0.12)
    fleet.ticks(4, 0.12)
    assert fleet.limit == 48
    fleet.spec_limit = fleet.own_limit = 56
    fleet.ticks(1, 0.12)
    assert fleet.limit == 56
    assert fleet.told("HeldByHand")
    fleet.ticks(4 * 59, 0.12)
    assert (fleet.limit, fleet.why()) == (56, "HeldByHand")
    fleet.ticks(8, 0.12)
    assert fleet.limit == 42


def test_an_edit_is_respected_in_the_very_look_that_sees_it() -> None:
    fleet = slow()
    fleet.ticks(10, 0.12)
    assert (fleet.limit, fleet.why()) == (48, "Cooldown")
    fleet.spec_limit = fleet.own_limit = 56
    fleet.ticks(20, 0.12)
    assert (fleet.limit, len(fleet.decided)) == (56, 1)


def test_an_edit_of_the_queue_is_left_alone_too() -> None:
    fleet = Fleet([rule(preset="Load", action={"type": "Shed"})])
    fleet.ticks(8, 0.99)
    assert (fleet.limit, fleet.queue) == (64, 500)
    fleet.facts = {"queue_length": 800}
    fleet.ticks(20, 0.99)
    assert (fleet.queue, fleet.why()) == (None, "HeldByHand")


def test_an_edit_while_the_result_is_watched_ends_that_too() -> None:
    fleet = slow()
    fleet.ticks(3, 0.12)
    fleet.spec_limit = fleet.own_limit = 32
    fleet.ticks(1, 0.2)
    assert (fleet.limit, fleet.outcomes) == (32, [("ScaleBatchSize", "Done")])
    fleet.ticks(20, 0.2)
    assert fleet.limit == 32


def test_a_rule_that_is_taken_out_leaves_nothing_behind() -> None:
    fleet = slow()
    fleet.ticks(8, 0.12)
    assert fleet.limit == 48
    fleet.rules = [rule("other", **ILL)]
    fleet.ticks(1, 0.0, "other")
    assert fleet.limit == 64


def test_an_operator_that_just_started_only_watches() -> None:
    fleet = slow()
    fleet.watched_since = BEGAN
    fleet.rules = [rule(**SLOW, windowSeconds=60)]
    fleet.ticks(7, 0.12)
    assert (fleet.limit, fleet.why()) == (64, "JustStarted")
    fleet.ticks(1, 0.12)
    assert fleet.limit == 48


def test_three_actions_an_hour_and_then_a_person() -> None:
    fleet = slow()
    fleet.ticks(60, 0.12)
    assert len(fleet.decided) == 3
    assert fleet.why() == "BudgetSpent"
    assert len(fleet.told("BudgetSpent")) == 1
    assert judge(fleet.rules, fleet.case()).condition.status == "False"


def test_two_rules_that_want_the_opposite_are_named_and_neither_acts() -> None:
    up = {"type": "ScaleBatchSize", "factorPercent": 125, "minBatchSize": 8, "maxBatchSize": 128}
    few: dict[str, Any] = {"query": "1", "samplesQuery": "1", "below": "5", "action": up}
    fleet = Fleet([rule(**SLOW), rule("few", **few)])
    fleet.ticks(20, 0.12, others={"few": 1.0})
    assert fleet.decided == {}
    assert fleet.why() == fleet.why("few") == "RulesFight"
    assert "slow, few" in fleet.state().message
    assert len(fleet.told("RulesFight")) == 2


def test_of_two_broken_rules_the_first_acts_and_the_other_waits() -> None:
    fleet = Fleet([rule(**SLOW), rule("shed", preset="Load", action={"type": "Shed"})])
    fleet.ticks(4, 0.12, others={"shed": 0.99})
    assert fleet.limit == 48
    assert (fleet.queue, fleet.why("shed")) == (None, "InFlight")


def test_an_older_crd_that_forgets_intents_only_gets_words() -> None:
    fleet = slow()
    fleet.facts = {"remembers": False}
    fleet.ticks(10, 0.12)
    assert (fleet.limit, fleet.decided, fleet.events) == (64, {}, [])
    assert "would be done" in fleet.state().message
    assert judge(fleet.rules, fleet.case()).condition.reason == "CRDOutdated"


def test_history_keeps_twenty() -> None:
    fleet = slow()
    fleet.remediation = Remediation(mode="Enforce", max_actions_per_hour=16)
    for _ in range(30):
        fleet.ticks(5, 0.12)
        fleet.ticks(30, 0.05)
    assert len(fleet.history) == 20
    assert fleet.history[-1].time > fleet.history[0].time


def test_an_action_decided_long_ago_is_not_done() -> None:
    fleet = slow()
    fleet.ticks(2, 0.12)
    fleet.now += timedelta(seconds=15)
    fleet.read(0.12)
    fleet.look()
    fleet.now += timedelta(minutes=6)
    fleet.looks()
    assert (fleet.limit, fleet.outcomes) == (64, [("ScaleBatchSize", "Failed")])


def test_a_healthy_fleet_says_so() -> None:
    fleet = slow()
    fleet.ticks(3, 0.05)
    said = judge(fleet.rules, fleet.case()).condition
    assert (said.status, said.reason) == ("True", "Watching")
    assert judge([rule(**SLOW, mode="Observe")], fleet.case()).condition.reason == "Observing"


def test_every_word_of_a_rule_is_in_the_docs() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs/alert-actions.md").read_text(encoding="utf-8")
    words = set()
    for path in sorted((root / "operator/src/batchfleet_operator/remediation").glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id in ("Held", "Finding")
                and len(call.args) > 1
                and isinstance(call.args[1], ast.Constant)
            ):
                words.add(str(call.args[1].value))
    assert len(words) > 25
    assert {each for each in words if f"`{each}`" not in page} == set()
