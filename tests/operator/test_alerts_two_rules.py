"""Two settings of two rules in force at once: each comes and goes with its own rule."""

from __future__ import annotations

from datetime import timedelta

from tests.operator.remedied import Fleet, rule


def two() -> Fleet:
    """Rule slow has shrunk the batch, then rule full the queue."""
    fleet = Fleet(
        [
            rule("slow", preset="InterTokenLatency", action={"type": "ScaleBatchSize"}),
            rule("full", preset="Load", action={"type": "Shed"}),
        ]
    )
    fleet.ticks(4, 0.12, others={"full": 0.5})
    assert fleet.limit == 48
    fleet.ticks(10, 0.07, others={"full": 0.99})
    assert (fleet.limit, fleet.queue) == (48, 500)
    return fleet


def test_the_limit_does_not_come_back_because_the_queue_is_well() -> None:
    fleet = two()
    fleet.ticks(60, 0.07, others={"full": 0.5})  # the tokens are near their bound still
    assert (fleet.limit, fleet.queue) == (48, None)
    fleet.ticks(60, 0.02, others={"full": 0.5})
    assert (fleet.limit, fleet.status.get("automatic")) == (64, None)


def test_the_queue_comes_back_though_the_limit_rests() -> None:
    fleet = two()
    fleet.ticks(60, 0.02, others={"full": 0.85})
    assert (fleet.limit, fleet.queue) == (64, 500)
    fleet.ticks(60, 0.02, others={"full": 0.5})
    assert (fleet.limit, fleet.queue) == (64, None)


def test_a_step_back_is_judged_by_the_rule_whose_setting_it_is() -> None:
    fleet = two()
    fleet.ticks(60, 0.07, others={"full": 0.5})
    while fleet.limit == 48:
        fleet.ticks(1, 0.02, others={"full": 0.5})
    fleet.ticks(3, 0.12, others={"full": 0.5})
    assert fleet.limit == 48
    assert ("ComeBack", "Restored") in fleet.outcomes


def test_a_rule_that_is_taken_out_takes_its_own_setting_alone() -> None:
    fleet = two()
    fleet.ticks(10, 0.07, others={"full": 0.99})
    fleet.history_forgotten()
    slow, _ = fleet.rules
    fleet.rules = [slow]
    fleet.ticks(2, 0.07)
    assert (fleet.limit, fleet.queue) == (48, None)
    fleet.rules = []
    fleet.now += timedelta(seconds=15)
    fleet.looks()
    assert fleet.limit == 64
