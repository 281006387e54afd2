"""What alert actions do to a fleet's batch, and when they do nothing: each a story."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from batchfleet_operator.api.alerts import Remediation
from tests.operator.remedied import Fleet, rule

SLOW: dict[str, Any] = {"preset": "InterTokenLatency", "above": "0.08"}


def slow(**fields: Any) -> Fleet:
    return Fleet([rule(**SLOW, **fields)])


def test_a_slow_engine_shrinks_the_batch_and_a_well_one_gets_it_back() -> None:
    fleet = slow()
    fleet.ticks(2, 0.12)
    assert (fleet.limit, fleet.state().state) == (64, "Pending")
    fleet.ticks(1, 0.12)
    assert (fleet.limit, fleet.why()) == (48, "Verifying")
    fleet.ticks(4, 0.05)
    assert fleet.outcomes == [("ScaleBatchSize", "Helped")]
    assert fleet.limit == 48, "recovered takes longer to believe"
    fleet.ticks(4, 0.05)
    assert fleet.limit == 60
    fleet.ticks(8, 0.05)
    assert fleet.limit == 64
    fleet.ticks(4, 0.05)
    assert fleet.status.get("automatic") is None, "the spec holds again"
    assert fleet.outcomes[1:] == [("ComeBack", "Helped"), ("ComeBack", "Helped")]
    assert fleet.state().state == "Healthy"


def test_a_worse_result_is_taken_back_and_the_circuit_opens() -> None:
    fleet = slow()
    fleet.ticks(3, 0.12)
    assert fleet.limit == 48
    fleet.ticks(4, 0.14)
    assert fleet.limit == 64
    assert fleet.outcomes == [("ScaleBatchSize", "Restored")]
    assert fleet.told("ActionRestored")
    assert fleet.state().state == "Open"
    fleet.ticks(40, 0.14)
    assert (fleet.limit, len(fleet.decided)) == (64, 1), "it rests for six cooldowns"
    fleet.ticks(12, 0.14)
    assert len(fleet.decided) == 2


def test_a_result_is_judged_by_what_was_read_after_the_change_alone() -> None:
    fleet = slow(windowSeconds=30)
    fleet.ticks(3, 0.12)
    fleet.ticks(2, 0.3)  # half of what this window holds is from before
    fleet.ticks(2, 0.05)
    assert fleet.outcomes == [("ScaleBatchSize", "Helped")]


def test_a_result_that_is_no_better_stays_and_the_next_step_waits_for_the_cooldown() -> None:
    fleet = slow()
    fleet.ticks(3, 0.12)
    fleet.ticks(4, 0.12)
    assert (fleet.limit, fleet.outcomes) == (48, [("ScaleBatchSize", "Unchanged")])
    assert (fleet.state().state, fleet.why()) == ("Held", "Cooldown")
    fleet.ticks(4, 0.12)
    assert fleet.limit == 36


def test_a_step_back_that_breaks_the_rule_is_taken_back_and_not_tried_soon() -> None:
    fleet = slow()
    fleet.ticks(3, 0.12)
    fleet.ticks(8, 0.05)
    assert fleet.limit == 60
    fleet.ticks(3, 0.12)
    assert fleet.limit == 48
    assert fleet.outcomes[-1] == ("ComeBack", "Restored")
    fleet.ticks(20, 0.05)
    assert fleet.limit == 48
    fleet.ticks(40, 0.05)
    assert fleet.limit == 64


def test_the_batch_ends_at_its_bounds_and_somebody_is_told() -> None:
    action = {"type": "ScaleBatchSize", "minBatchSize": 40, "maxBatchSize": 64}
    fleet = slow(action=action)
    fleet.ticks(40, 0.12)
    assert fleet.limit == 40
    assert (fleet.state().state, fleet.why()) == ("Broken", "Pinned")
    assert len(fleet.told("Pinned")) == 1
    assert "action.minBatchSize" in fleet.told("Pinned")[0]


def test_a_preset_without_bounds_goes_down_to_a_quarter() -> None:
    fleet = slow()
    fleet.remediation = Remediation(mode="Enforce", max_actions_per_hour=16)
    fleet.ticks(120, 0.12)
    assert fleet.limit == 16


def test_without_any_limit_there_is_nothing_to_shrink() -> None:
    fleet = slow()
    fleet.own_limit = fleet.spec_limit = None
    fleet.ticks(5, 0.12)
    assert fleet.why() == "NoLimit"
    assert "set batching.maxBatchSize" in fleet.state().message


def test_an_unlimited_engine_is_limited_within_the_rules_bounds_and_freed_again() -> None:
    action = {"type": "ScaleBatchSize", "minBatchSize": 8, "maxBatchSize": 100}
    fleet = slow(action=action)
    fleet.own_limit = fleet.spec_limit = None
    fleet.ticks(3, 0.12)
    assert fleet.limit == 75
    fleet.ticks(40, 0.05)
    assert fleet.limit is None


def test_one_bad_number_is_no_reason() -> None:
    fleet = slow()
    for _ in range(6):
        fleet.ticks(2, 0.12)
        fleet.ticks(1, 0.05)
    assert fleet.decided == {}


def test_few_requests_are_no_reason() -> None:
    fleet = slow()
    fleet.ticks(10, 5.0, samples=99.0)
    assert (fleet.state().state, fleet.why()) == ("Inconclusive", "TooFewSamples")
    fleet.ticks(10, 5.0, samples=None)
    assert fleet.why() == "TooFewSamples"
    fleet.ticks(10, 5.0, samples=float("nan"))
    assert (fleet.why(), fleet.decided) == ("TooFewSamples", {})


def test_missing_numbers_are_no_reason_and_no_recovery() -> None:
    fleet = slow()
    fleet.ticks(3, 0.12)
    fleet.ticks(60, None)
    assert fleet.limit == 48, "what was done stays: nobody knows that it is well"
    assert (fleet.state().state, fleet.why()) == ("Inconclusive", "NoData")
    assert fleet.outcomes == [("ScaleBatchSize", "Done")], "its result could not be judged"
    fleet.ticks(60, float("nan"))
    assert len(fleet.decided) == 1


def test_numbers_that_stop_coming_are_no_reason() -> None:
    fleet = slow()
    fleet.ticks(2, 0.12)
    fleet.now += timedelta(seconds=61)
    fleet.looks()
    assert (fleet.state().state, fleet.why()) == ("Inconclusive", "Stale")
    fleet.ticks(2, 0.12)
    assert fleet.state().state == "Pending", "confirmation begins anew after the gap"


def test_a_query_that_does_not_parse_is_invalid_in_prometheus_words_and_others_go_on() -> None:
    query: dict[str, Any] = {
        "query": "sum(",
        "samplesQuery": "1",
        "above": "1",
        "action": {"type": "Notify"},
    }
    fleet = Fleet([rule("broken", **query), rule(**SLOW)])
    for _ in range(3):
        fleet.read(None, "broken", problem="parse error: unclosed left parenthesis")
        fleet.ticks(1, 0.12)
    assert fleet.state("broken").state == "Invalid"
    assert "unclosed left parenthesis" in fleet.state("broken").message
    assert fleet.limit == 48


def test_queries_need_an_administrators_word() -> None:
    query: dict[str, Any] = {
        "query": "1",
        "samplesQuery": "1",
        "above": "1",
        "action": {"type": "Notify"},
    }
    fleet = Fleet([rule(**query)], facts={"allowed": False})
    fleet.ticks(5, 5.0)
    assert (fleet.state().state, fleet.why()) == ("Invalid", "QueriesNotAllowed")
    assert fleet.events == []


def test_observe_tells_once_and_changes_nothing() -> None:
    fleet = slow(mode="Observe")
    fleet.ticks(30, 0.12)
    assert (fleet.limit, fleet.decided) == (64, {})
    assert fleet.outcomes == [("ScaleBatchSize", "Observed")]
    (said,) = fleet.told("ObserveOnly")
    assert "the live limit from 64 to 48" in said
    fleet.ticks(10, 0.05)
    fleet.ticks(10, 0.12)
    assert len(fleet.told("ObserveOnly")) == 2, "a new episode is told again"


def test_a_number_near_its_bound_is_the_same_episode() -> None:
    fleet = slow(mode="Observe")
    for _ in range(5):
        fleet.ticks(4, 0.12)
        fleet.ticks(8, 0.07)
    assert len(fleet.told("ObserveOnly")) == 1


def test_the_status_stays_as_it_is_while_nothing_but_a_number_moves() -> None:
    fleet = slow(mode="Observe")
    fleet.ticks(5, 0.12)
    before = fleet.status
    fleet.ticks(5, 0.19)
    assert fleet.status == before
