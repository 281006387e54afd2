"""Restarts and rollbacks: the one pod that is ill, and never the fleet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from batchfleet_operator.remediation.alerts import judge
from tests.operator.remedied import BEGAN, Fleet, pods, rule

ILL: dict[str, Any] = {"preset": "ErrorRate"}


def test_the_alert_of_a_rule_is_told_once_and_stops_a_rollout() -> None:
    fires = rule(alertName="HighLatency", action={"type": "Notify"})
    fleet = Fleet([fires])
    fleet.facts = {"rolling": True, "rollout_began": BEGAN}
    fleet.ticks(2, None, alert="firing")
    assert judge(fleet.rules, fleet.case()).pause_rollout is None
    fleet.ticks(5, None, alert="firing")
    assert len(fleet.told("Notified")) == 1
    assert fleet.outcomes == [("Notify", "Done")]
    assert "slow" in (judge(fleet.rules, fleet.case()).pause_rollout or "")
    assert judge([fires.model_copy(update={"mode": "Observe"})], fleet.case()).pause_rollout is None
    older = replace(fleet.case(), rollout_began=fleet.now)
    assert judge(fleet.rules, older).pause_rollout is None, "the rollout may be what mends it"


def test_an_alert_that_prometheus_does_not_know_is_inconclusive() -> None:
    fleet = Fleet([rule(alertName="Gone", action={"type": "Rollback"})])
    fleet.ticks(10, None)
    assert (fleet.state().state, fleet.why()) == ("Inconclusive", "NoData")


def test_an_alert_takes_back_a_young_rollout() -> None:
    fleet = Fleet([rule(alertName="Bad", action={"type": "Rollback"})])
    fleet.facts = {"rolling": True, "rollout_began": BEGAN, "can_roll_back": True}
    fleet.ticks(4, None, alert="firing")
    assert fleet.rolled_back == 1
    assert fleet.outcomes == [("Rollback", "Done")]
    fleet.ticks(40, None, alert="firing")
    assert fleet.rolled_back == 1


@pytest.mark.parametrize(("minutes", "taken_back"), [(None, 1), (29, 1), (31, 0)])
def test_a_rollout_that_has_not_moved_for_long_is_left_alone(
    minutes: int | None, taken_back: int
) -> None:
    fleet = Fleet([rule(alertName="Bad", action={"type": "Rollback"})])
    moved = None if minutes is None else BEGAN - timedelta(minutes=minutes)
    hours_ago = BEGAN - timedelta(hours=2)  # a large model, one pod after the other
    fleet.facts = {"rollout_began": hours_ago, "rollout_moved": moved, "can_roll_back": True}
    fleet.ticks(4, None, alert="firing")
    assert fleet.rolled_back == taken_back
    assert len(fleet.told("RolloutTooOld")) == 1 - taken_back


def by_pod(*values: float) -> dict[str, Any]:
    return {"by_pod": {f"chat-1-{n}": value for n, value in enumerate(values)}}


def test_one_ill_pod_among_three_is_restarted_alone() -> None:
    fleet = Fleet([rule(**ILL)])
    fleet.ticks(4, 0.2, **by_pod(0.01, 0.58, 0.01))
    assert fleet.restarted == ["chat-1-1"]
    fleet.ticks(20, 0.01)
    assert fleet.restarted == ["chat-1-1"]
    assert fleet.outcomes == [("RestartPod", "Helped")]


def test_a_pod_that_was_ill_only_lately_is_not_restarted() -> None:
    fleet = Fleet([rule(**ILL)])
    fleet.ticks(2, 0.2, **by_pod(0.58, 0.01, 0.01))
    fleet.ticks(2, 0.2, **by_pod(0.01, 0.58, 0.01))
    assert (fleet.restarted, fleet.why()) == ([], "NoOutlier")


def test_a_fleet_that_is_ill_is_not_restarted_but_its_young_rollout_taken_back() -> None:
    fleet = Fleet([rule(**ILL)])
    fleet.ticks(6, 0.5, **by_pod(0.9, 0.8, 0.1))
    assert (fleet.restarted, fleet.why()) == ([], "FleetSick")
    assert len(fleet.told("FleetSick")) == 1
    fleet.facts = {"rollout_began": BEGAN, "can_roll_back": True}
    fleet.ticks(2, 0.5, **by_pod(0.9, 0.8, 0.1))
    assert (fleet.restarted, fleet.rolled_back) == ([], 1)


def test_an_illness_that_spreads_is_the_fleets() -> None:
    fleet = Fleet([rule(**ILL)])
    fleet.facts = {"rolling": True, "rollout_began": BEGAN, "can_roll_back": True}
    fleet.ticks(1, 0.1, **by_pod(0.3, 0.01, 0.01))
    fleet.ticks(1, 0.2, **by_pod(0.3, 0.3, 0.01))
    fleet.ticks(4, 0.3, **by_pod(0.3, 0.3, 0.3))
    assert (fleet.restarted, fleet.rolled_back) == ([], 1)


def test_one_of_two_pods_is_restarted_but_never_the_only_one() -> None:
    two = Fleet([rule(**ILL)], pods=pods(2))
    two.ticks(4, 0.4, **by_pod(0.8, 0.0))
    assert two.restarted == ["chat-1-0"]
    one = Fleet([rule(**ILL)], pods=pods(1))
    one.ticks(20, 0.8, **by_pod(0.8))
    assert (one.restarted, one.why()) == ([], "FleetSick")


def test_the_last_ready_pod_is_not_taken_away() -> None:
    fleet = Fleet([rule(**ILL)], pods=[pods(1)[0], *pods(3, ready=False)[1:]])
    fleet.ticks(10, 0.4, **by_pod(0.8, 0.0, 0.0))
    assert (fleet.restarted, fleet.why()) == ([], "LastPod")


def test_without_numbers_of_single_pods_none_is_restarted() -> None:
    fleet = Fleet([rule(**ILL)])
    fleet.ticks(10, 0.4)
    assert (fleet.restarted, fleet.state().state) == ([], "Inconclusive")
    fleet.ticks(10, 0.4, **by_pod(0.9, 0.0, 0.0), samples_by_pod={"chat-1-0": 16.0})
    assert fleet.restarted == []


def test_a_restart_that_made_it_worse_is_told_and_the_circuit_opens() -> None:
    fleet = Fleet([rule(**ILL)])
    fleet.ticks(3, 0.2, **by_pod(0.01, 0.58, 0.01))
    fleet.ticks(5, 0.4, **by_pod(0.4, 0.01, 0.4))
    assert fleet.outcomes == [("RestartPod", "Failed")]
    assert fleet.state().state == "Open"


def test_no_pod_is_restarted_during_a_rollout() -> None:
    fleet = Fleet([rule(**ILL)])
    fleet.facts = {"rolling": True, "rollout_began": BEGAN}
    fleet.ticks(10, 0.2, **by_pod(0.01, 0.58, 0.01))
    assert (fleet.restarted, fleet.why()) == ([], "RollingOut")


def test_one_ill_pod_of_many_is_found_though_the_fleet_is_well() -> None:
    fleet = Fleet([rule(**ILL)], pods=pods(30))
    fleet.ticks(4, 0.033, **by_pod(*[0.0] * 29, 1.0))
    assert fleet.restarted == ["chat-1-29"]
    fleet.ticks(4, 0.0, **by_pod(*[0.0] * 29))
    assert fleet.outcomes == [("RestartPod", "Helped")]


def test_pods_that_fail_in_turn_are_not_one_ill_pod() -> None:
    fleet = Fleet([rule(**ILL)], pods=pods(30))
    for turn in range(10):
        ill = [1.0 if n == turn else 0.0 for n in range(30)]
        fleet.ticks(1, 0.033, **by_pod(*ill))
    assert (fleet.restarted, fleet.events) == ([], [])


def test_two_failed_requests_of_an_idle_pod_are_no_illness() -> None:
    fleet = Fleet([rule(**ILL)], pods=pods(30))
    samples = {f"chat-1-{n}": 3.4 for n in range(30)}
    fleet.ticks(10, 0.02, **by_pod(*[0.0] * 29, 0.6), samples_by_pod=samples)
    assert (fleet.restarted, fleet.state().state) == ([], "Healthy")
