"""What somebody sees who gives a service ``autoscaling``: one example for each reason."""

from __future__ import annotations

from itertools import pairwise

import pytest

from batchfleet_operator import names
from batchfleet_operator.scaling.outside import outside_writer
from tests.operator.autoscaled import BATCH, Fleet, busy, policy, signal


def test_a_first_start_is_the_size_of_the_spec_and_tells_nobody() -> None:
    fleet = Fleet(policy(minReplicas=2, maxReplicas=8), start=3)
    decision = fleet.look()
    assert decision.replicas == 3
    assert decision.events == []
    assert Fleet(policy(minReplicas=2, maxReplicas=8), start=1).look().replicas == 2
    assert Fleet(policy(minReplicas=2, maxReplicas=8), start=9).look().replicas == 8


def test_a_lost_status_takes_away_no_pod() -> None:
    fleet = Fleet(policy(maxReplicas=20), start=2)
    fleet.ready = fleet.asked = 9
    assert fleet.look().replicas == 9


def test_the_offered_rate_sizes_the_fleet() -> None:
    fleet = Fleet(policy(workMillisecondsPerRequest=1000), start=4)
    fleet.look(busy(rate=3.0, pods=4))
    decision = fleet.look(busy(rate=5.0, pods=4), after=15)
    # 5 x 1 s of full pods, of which 70 % may be taken.
    assert decision.replicas == 8
    assert decision.condition.status == "True"
    assert decision.condition.reason == names.SIZED_BY_RATE
    (event,) = decision.events
    assert event.reason == names.SIZED_BY_RATE
    assert event.message == (
        "5 to 8 pods: 5 engine calls/s, 5 expected in 180 s; 1 s of a full pod for each; "
        "pods needed by rate 8, slots 3"
    )


def test_requests_that_join_another_cost_nothing() -> None:
    fleet = Fleet(policy(workMillisecondsPerRequest=1000), start=6)
    assert fleet.look(busy(rate=8.0, pods=6, joined_share=0.5)).replicas == 6


def test_it_grows_ahead_of_a_rising_rate_and_does_not_chase_noise() -> None:
    given = policy(workMillisecondsPerRequest=1000)
    assert Fleet(given, start=6).look(busy(rate=4.0, pods=6, slope=0.01)).replicas == 7
    assert Fleet(given, start=6).look(busy(rate=4.0, pods=6, slope=0.001)).replicas == 6
    batch = policy(workMillisecondsPerRequest=1000, objective="Batch")
    assert Fleet(batch, start=6).look(busy(rate=4.0, pods=6, slope=0.01)).replicas == 6


def test_a_backlog_of_batch_traffic_may_wait() -> None:
    given = policy(workMillisecondsPerRequest=1000, maxReplicas=40)
    now = Fleet(given, start=6).look(busy(rate=3.5, pods=6, queued=900.0))
    later = Fleet(given, start=6).look(busy(rate=3.5, pods=6, queued=900.0, queued_batch=900.0))
    assert now.replicas > 6
    assert later.replicas == 6


def test_a_backlog_asks_for_at_most_as_many_pods_again() -> None:
    given = policy(workMillisecondsPerRequest=1000, maxReplicas=400)
    stuck = busy(rate=4.0, pods=100, queued=1_000_000.0, in_flight=200.0)
    assert Fleet(given, start=100).look(stuck).replicas == 100


def test_slots_size_a_fleet_whose_work_is_not_known() -> None:
    fleet = Fleet(policy(), start=2)
    decision = fleet.look(signal(fleet.now, in_flight=2.0 * BATCH, queued=40.0, fresh_pods=2))
    assert decision.replicas == 4
    assert decision.condition.reason == names.SIZED_BY_SLOTS


def test_the_kv_cache_sizes_a_fleet_of_long_prompts() -> None:
    fleet = Fleet(policy(), start=3)
    decision = fleet.look(busy(rate=1.0, pods=3, in_flight=10.0, kv_usage=2.9))
    assert decision.replicas == 5
    assert decision.condition.reason == names.SIZED_BY_MEMORY


def test_a_tick_at_most_doubles_the_fleet_and_a_look_between_ticks_changes_nothing() -> None:
    fleet = Fleet(policy(workMillisecondsPerRequest=1000, maxReplicas=100), start=5)
    storm = busy(rate=60.0, pods=5)
    assert fleet.look(storm).replicas == 10
    assert fleet.look_again(after=2).replicas == 10
    assert fleet.look(storm, after=15).replicas == 20


def test_more_is_needed_than_the_maximum_allows() -> None:
    fleet = Fleet(policy(workMillisecondsPerRequest=1000, maxReplicas=5), start=4)
    decision = fleet.look(busy(rate=20.0, pods=4))
    assert decision.replicas == 5
    assert decision.condition.reason == names.AT_MAXIMUM
    assert "maxReplicas 5" in decision.condition.message


def test_an_idle_fleet_falls_to_its_minimum_a_pod_a_minute_after_the_window() -> None:
    fleet = Fleet(policy(workMillisecondsPerRequest=1000, minReplicas=2), start=5)
    sizes = fleet.run([busy(rate=0.2, pods=5)] * 140)
    assert sizes[:119] == [5] * 119, "1800 seconds have not passed"
    assert sizes[-1] == 2
    assert [a - b for a, b in pairwise(sizes) if a != b] == [1, 1, 1]
    assert fleet.last is not None
    assert fleet.last.condition.reason == names.AT_MINIMUM


def test_a_shorter_window_is_obeyed() -> None:
    quick = policy(workMillisecondsPerRequest=1000, scaleDownWindowSeconds=30)
    assert Fleet(quick, start=5).run([busy(rate=0.2, pods=5)] * 6)[-1] < 5


@pytest.mark.parametrize(
    "change", [{"pending": 1}, {"rolling": True}, {"acting": True}, {"ready": 7}]
)
def test_it_never_shrinks_while_something_is_going_on(change: dict[str, int | bool]) -> None:
    """Starting pods, a rollout, an alert action, pods without samples: 5 of 7 are fresh."""
    fleet = Fleet(policy(workMillisecondsPerRequest=1000), start=5)
    for name, value in change.items():
        setattr(fleet, name, value)
    fleet.fixed = True
    assert set(fleet.run([busy(rate=0.2, pods=5)] * 140)) == {5}


def test_of_a_load_that_comes_in_bursts_it_keeps_what_carries_the_bursts() -> None:
    """Bursts of twice the load every ten minutes: 4.15 pods are full in one, so that 5 stay."""
    fleet = Fleet(policy(workMillisecondsPerRequest=1000), start=6)
    minutes = [2.1] * 8 + [4.15] * 2
    seen = [busy(rate=rate, pods=6) for rate in minutes * 12 for _ in range(4)]
    sizes = fleet.run(seen)
    assert min(sizes) == 5


def test_metrics_that_are_gone_take_away_nothing_and_come_back_without_a_hand() -> None:
    fleet = Fleet(policy(workMillisecondsPerRequest=1000), start=6)
    fleet.run([busy(rate=4.0, pods=6)] * 50)
    gone = signal(fleet.now, state="PrometheusError", message="connection refused")
    assert fleet.look(gone, after=15).condition.reason == names.SIZED_BY_RATE, "one look is noise"
    fleet.look(gone, after=15)
    decision = fleet.look(gone, after=15)
    assert (decision.replicas, decision.condition.status) == (6, "False")
    assert decision.condition.reason == names.NO_METRICS
    assert "connection refused" in decision.condition.message
    assert [each.type for each in decision.events] == ["Warning"]
    assert fleet.look(gone, after=15).events == [], "said once"
    assert fleet.run([gone] * 20) == [6] * 20
    assert fleet.look(busy(rate=4.0, pods=6), after=15).condition.status == "True"


def test_the_fallback_holds_while_metrics_are_gone() -> None:
    fleet = Fleet(policy(fallbackReplicas=4, minReplicas=1), start=2)
    gone = signal(fleet.now, state="Stale")
    assert fleet.run([gone] * 2) == [2, 2]
    decision = fleet.look(gone, after=15)
    assert (decision.replicas, decision.condition.reason) == (4, names.FALLBACK)


def test_a_sampler_that_fell_silent_is_missing_data() -> None:
    fleet = Fleet(policy(workMillisecondsPerRequest=1000), start=6)
    fleet.run([busy(rate=0.1, pods=6)] * 110)
    assert fleet.look_again(after=400).condition.reason == names.NO_METRICS
    assert fleet.last is not None
    assert fleet.last.replicas == 6


def test_without_a_prometheus_the_size_stays_and_the_setting_is_named() -> None:
    fleet = Fleet(policy(), start=3)
    fleet.watched_since = None
    decision = fleet.look_again()
    assert (decision.replicas, decision.condition.reason) == (3, names.NO_METRICS)
    assert "monitoring.prometheus.url" in decision.condition.message


def test_a_quota_keeps_what_was_asked_and_asks_for_no_more() -> None:
    fleet = Fleet(policy(workMillisecondsPerRequest=1000), start=6)
    fleet.refused, fleet.pending, fleet.ready, fleet.fixed = "exceeded quota: gpus", 2, 4, True
    assert set(fleet.run([busy(rate=20.0, pods=4)] * 10)) == {6}
    assert fleet.last is not None
    assert fleet.last.condition.reason == names.PODS_REFUSED
    assert "6 pods stay asked for, 4 serve: exceeded quota: gpus" in fleet.last.condition.message


def test_a_pause_holds_the_size() -> None:
    fleet = Fleet(policy(workMillisecondsPerRequest=1000), start=4)
    fleet.paused = "the annotation batchfleet.io/automation is paused"
    decision = fleet.look(busy(rate=40.0, pods=4))
    assert (decision.replicas, decision.condition.reason) == (4, names.PAUSED)


def test_nothing_is_known_of_a_pod_without_a_limit_until_requests_wait() -> None:
    fleet = Fleet(policy(), start=2)
    fleet.batch_size = None
    decision = fleet.look(busy(rate=3.0, pods=2))
    assert (decision.replicas, decision.condition.status) == (2, "Unknown")
    assert decision.condition.reason == names.UNMEASURED
    waiting = busy(rate=3.0, pods=2, completed=2.0, queued=30.0)
    assert fleet.run([waiting] * 6)[-1] > 2
    assert fleet.last is not None
    assert fleet.last.scaling.work_milliseconds == (1000,)


def test_a_scale_out_action_is_honoured_until_its_end() -> None:
    fleet = Fleet(policy(workMillisecondsPerRequest=1000, scaleDownWindowSeconds=30), start=2)
    fleet.run([busy(rate=0.2, pods=2)] * 3)
    fleet.floor(5, seconds=300)
    assert fleet.look(busy(rate=0.2, pods=2), after=15).condition.reason == names.SCALED_OUT
    assert fleet.run([busy(rate=0.2, pods=5)] * 12)[-1] == 5
    assert fleet.run([busy(rate=0.2, pods=5)] * 20)[-1] < 5


def test_a_schedule_lifts_the_minimum_before_its_hour() -> None:
    eight = {"days": ["Mon"], "fromHour": 8, "toHour": 9, "minReplicas": 4}
    fleet = Fleet(policy(timeZone="Europe/Berlin", schedules=[eight]), start=1)
    fleet.at("2026-11-23T06:50:00Z")  # a Monday, 7:50 in Berlin
    assert fleet.look(busy(rate=0.1, pods=1)).replicas == 1
    fleet.at("2026-11-23T06:57:30Z")
    decision = fleet.look(busy(rate=0.1, pods=1))
    assert (decision.replicas, decision.condition.reason) == (4, names.SCHEDULED)


def test_an_unknown_time_zone_is_named_and_the_highest_minimum_holds() -> None:
    night = {"days": ["Sun"], "fromHour": 0, "toHour": 1, "minReplicas": 3}
    for zone in ("Mars/Olympus", "../etc/passwd"):
        decision = Fleet(policy(timeZone=zone, schedules=[night]), start=1).look()
        assert (decision.replicas, decision.condition.reason) == (3, names.UNKNOWN_TIME_ZONE)
        assert zone in decision.condition.message


def test_numbers_that_move_do_not_move_the_status() -> None:
    fleet = Fleet(policy(workMillisecondsPerRequest=1000), start=6)
    fleet.look(busy(rate=4.0, pods=6))
    told = fleet.look(busy(rate=3.9, pods=6), after=15)
    assert fleet.look(busy(rate=3.8, pods=6), after=15).scaling == told.scaling
    assert fleet.look(busy(rate=3.95, pods=6), after=15).condition == told.condition


def test_whoever_writes_replicas_beside_the_autoscaler_is_named() -> None:
    wrote: dict[str, object] = {"f:spec": {"f:replicas": {}}}
    by_apply = {"manager": "kubectl", "operation": "Apply", "fieldsV1": wrote}
    by_scale = {
        "manager": "keda",
        "subresource": "scale",
        "time": "2026-11-22T06:00:00Z",
        "fieldsV1": wrote,
    }
    later = {**by_scale, "manager": "kube-controller-manager", "time": "2026-11-22T06:01:00Z"}
    spec = {"replicas": 3, "autoscaling": {"maxReplicas": 4}}

    def writer(*fields: object, spec: dict[str, object] = spec) -> str | None:
        return outside_writer({"metadata": {"managedFields": list(fields)}, "spec": spec})

    assert writer(by_apply) is None
    assert writer(by_apply, by_scale) == "keda"
    assert writer(later, by_scale) == "a HorizontalPodAutoscaler (kube-controller-manager)"
    assert writer(by_scale, spec={"replicas": 3}) is None
