"""Each preset does what its classic rule should have done."""

from __future__ import annotations

from typing import Any

import pytest

from batchfleet_operator.api.alerts import AlertAction, PresetName
from batchfleet_operator.api.status import Status
from batchfleet_operator.remediation.presets import PRESETS, horizon_seconds, number, policy
from tests.operator.remedied import Fleet, pods, rule, signals


def fleet(preset: PresetName, rules: dict[str, Any] | None = None, **facts: Any) -> Fleet:
    return Fleet([rule(preset=preset, **rules or {})], facts=facts)


@pytest.mark.parametrize("preset", ["RequestLatency", "TimeToFirstToken", "InterTokenLatency"])
def test_a_latency_that_is_work_makes_the_batch_smaller(preset: PresetName) -> None:
    made = fleet(preset)
    made.ticks(4, 3.0, queue_share=0.2)
    assert made.limit == 48


def test_a_latency_that_is_waiting_gets_more_pods_and_never_a_smaller_batch() -> None:
    made = fleet("RequestLatency", max_replicas=8)
    made.ticks(4, 3.0, queue_share=0.8)
    assert (made.limit, len(made.pods)) == (64, 4)


def test_a_latency_that_is_waiting_sheds_where_no_pod_is_to_be_had() -> None:
    made = fleet("RequestLatency", max_replicas=3)
    made.ticks(4, 3.0, queue_share=0.8)
    assert (made.limit, len(made.pods), made.queue) == (64, 3, 500)
    made.ticks(40, 0.3)
    assert (made.queue, made.status.get("automatic")) == (None, None), "the queue comes back"


def test_a_full_fleet_grows_by_a_quarter_and_sheds_at_its_maximum() -> None:
    made = fleet("Load", max_replicas=5)
    made.ticks(3, 0.97)
    assert len(made.pods) == 4
    made.ticks(11, 0.97)
    assert len(made.pods) == 5
    made.ticks(11, 0.97)
    assert (len(made.pods), made.queue, made.limit) == (5, 500, 64)


def test_a_full_fleet_that_is_sized_by_hand_sheds() -> None:
    made = fleet("Load")
    made.ticks(4, 0.97)
    assert (len(made.pods), made.queue) == (3, 500)


def test_no_pods_are_asked_for_while_others_start() -> None:
    made = Fleet([rule(preset="Load")], pods=[*pods(2), *pods(3, ready=False)[2:]])
    made.facts = {"max_replicas": 8}
    made.ticks(20, 0.97)
    assert (len(made.pods), made.why()) == (3, "PodsPending")


def test_the_queue_is_never_shorter_than_an_eighth() -> None:
    made = fleet("Load", {"cooldownSeconds": 1, "verifySeconds": 1})
    for _ in range(6):
        made.history_forgotten()
        made.ticks(30, 0.97)
    assert (made.queue, made.why()) == (125, "Pinned")


GROW = {"type": "ScaleBatchSize", "minBatchSize": 16, "maxBatchSize": 100, "factorPercent": 125}
BUSY = {"offered_per_second": 9.5, "queued": 4.0, "kv_usage": 1.5, "fresh_pods": 3}


def throughput(**now: Any) -> Fleet:
    made = fleet("Throughput", {"action": GROW}, signals=signals(**{**BUSY, **now}))
    made.facts["max_num_seqs"] = 128
    return made


def test_a_low_throughput_with_work_waiting_makes_the_batch_larger() -> None:
    made = throughput()
    made.ticks(4, 7.9, baseline=10.0)
    assert made.limit == 80
    made.ticks(4, 9.5, baseline=10.0)
    assert made.outcomes == [("ScaleBatchSize", "Helped")]


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ({"offered_per_second": 8.9}, "LessOffered"),
        ({"offered_per_second": 12.0, "joined_share": 0.5}, "LessOffered"),
        ({"queued": 0.0}, "NothingWaits"),
        ({"kv_usage": 2.5}, "CacheFull"),
        ({"offered_per_second": None}, "LoadUnknown"),
        ({"queued": None}, "LoadUnknown"),
        ({"kv_usage": None}, "LoadUnknown"),
        ({"fresh_pods": None}, "LoadUnknown"),
    ],
)
def test_a_low_throughput_alone_is_no_reason(now: dict[str, Any], why: str) -> None:
    made = throughput(**now)
    made.ticks(20, 5.0, baseline=10.0)
    assert (made.limit, made.why(), made.decided) == (64, why, {})


def test_what_is_usual_has_to_be_known() -> None:
    made = throughput()
    made.ticks(20, 5.0)
    assert (made.why(), made.state().state) == ("NoBaseline", "Inconclusive")
    made.ticks(20, 9.9, baseline=10.0)
    assert made.state().state == "Healthy"


def test_a_batch_that_is_all_the_engine_runs_needs_a_rollout_and_says_of_what() -> None:
    made = throughput()
    made.facts["max_num_seqs"] = 60
    made.ticks(10, 5.0, baseline=10.0)
    assert (made.limit, made.why()) == (64, "Pinned")
    assert "engine.maxNumSeqs 60: raise that to 75" in made.state().message


def test_a_stalled_pod_is_restarted_alone() -> None:
    made = fleet("EngineStalled")
    by_pod = {"chat-1-0": 0.0, "chat-1-1": 0.0, "chat-1-2": 1.0}
    made.ticks(4, 1.0, by_pod=by_pod, samples=None)
    assert made.restarted == ["chat-1-2"]
    made.ticks(4, 0.0, by_pod=by_pod | {"chat-1-2": 0.0}, samples=None)
    assert made.outcomes == [("RestartPod", "Helped")]


def test_a_service_that_is_down_goes_back_to_the_revision_before_or_calls_somebody() -> None:
    made = fleet("ServiceDown")
    made.ticks(6, 0.0, samples=None)
    assert (made.restarted, made.why()) == ([], "NothingToRollBack")
    made.facts = {"rollout_began": made.now, "can_roll_back": True}
    made.ticks(1, 1.0, samples=None)
    made.ticks(4, 1.0, samples=None)
    made.ticks(4, 0.0, samples=None)
    assert made.rolled_back == 1


def test_every_presets_rule_is_filled_in() -> None:
    case = Fleet([]).case()
    for name, preset in PRESETS.items():
        filled = policy(AlertAction(name="a", preset=name), case)
        assert filled.action == preset.action
        assert (filled.window_seconds, filled.confirm_seconds) == (120, 180)
        assert (filled.verify_seconds, filled.cooldown_seconds) == (600, 600)
        assert (filled.least, filled.most) == (16, 64)
        assert filled.recover_seconds == pytest.approx(300)
        assert horizon_seconds(AlertAction(name="a", preset=name)) == pytest.approx(300)
    slow_start = Fleet([], facts={"lead_seconds": 700.0}).case()
    filled = policy(AlertAction(name="a", preset="Load"), slow_start)
    assert (filled.verify_seconds, filled.cooldown_seconds) == (1400, 940)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1e-9, "0"),
        (0.0123456789, "0.012346"),
        (123456789.5, "123456789.5"),
        (12345678901.123456, "12345678901"),
        (1e300, "1000000000000000"),
    ],
)
def test_numbers_are_written_as_the_api_takes_them(value: float, text: str) -> None:
    assert number(value) == text
    past = {"time": "2026-01-01T00:00:00Z", "rule": "a", "action": "Notify", "outcome": "Done"}
    assert Status.parse({"history": [past | {"value": number(value)}]})
