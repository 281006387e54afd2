"""Alive or not, the same or another: judgements over scripted samples, in virtual time."""

from __future__ import annotations

import pytest

from batchfleet_worker.engine import Change, Engine, Health, Sample
from batchfleet_worker.vitals import Vitals, between, read_vitals

PAGE = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a}b"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="m"} 9.0
vllm:iteration_tokens_total_count{engine="0",model_name="m"} 40.0
vllm:iteration_tokens_total_count{engine="1",model_name="m"} 2.0
process_start_time_seconds 1.7e+09
"""


def ok(iterations: float | None = None, busy: float = 0, started: float | None = None) -> Sample:
    return Sample(Health.OK, Vitals(iterations, started, running=busy))


def test_vitals_are_summed_over_the_engines_of_a_pod() -> None:
    vitals = read_vitals(PAGE)
    assert vitals == Vitals(iterations=42, running=4, waiting=2, started=1.7e9)
    assert vitals.busy == 6
    assert read_vitals("") == Vitals()


@pytest.mark.parametrize("names", [("kv", "inter_token_latency"), ("gpu", "time_per_output_token")])
def test_signals_are_what_happened_between_two_looks_under_old_names_and_new(
    names: tuple[str, str],
) -> None:
    cache, gap = names

    def page(total: float, count: int, preempted: int) -> Vitals:
        return read_vitals(
            f'vllm:{cache}_cache_usage_perc{{engine="0"}} 0.5\n'
            f'vllm:{cache}_cache_usage_perc{{engine="1"}} 0.97\n'
            f'vllm:{gap}_seconds_bucket{{le="+Inf"}} 999\n'
            f"vllm:{gap}_seconds_sum {total}\nvllm:{gap}_seconds_count {count}\n"
            f"vllm:num_preemptions_total {preempted}\nvllm:num_requests_running 3\n"
            'vllm:scheduler_config_info{max_num_seqs="128",engine="0"} 1\n'
        )

    before = page(10.0, 100, 1)
    signals = between(before, page(12.0, 140, 3))
    assert signals.gap_seconds == pytest.approx(0.05)
    assert (signals.preempted, signals.kv_usage, signals.running) == (2, 0.97, 3)
    assert (signals.waiting, signals.most_running) == (None, 128)
    assert between(before, before).gap_seconds is None
    assert between(None, before).gap_seconds is None


def test_the_first_look_at_a_new_engine_is_not_compared_with_the_old_one() -> None:
    engine = Engine(stall_seconds=120)
    for second, (total, count) in enumerate([(5.0, 100), (6.0, 120), (0.1, 2), (0.3, 6)]):
        vitals = Vitals(count, running=1, gap_sum=total, gap_count=count)
        engine.observe(Sample(Health.OK, vitals), second)
        gap = {1: 0.05, 3: 0.05}.get(second)
        assert engine.signals.gap_seconds == (None if gap is None else pytest.approx(gap))


def test_a_busy_engine_that_iterates_is_alive_even_if_its_health_is_slow() -> None:
    engine = Engine(stall_seconds=120)
    for second in range(0, 1000, 10):
        engine.observe(Sample(Health.SLOW, Vitals(second, running=5)), second)
        assert not engine.ill(second)


def test_a_busy_engine_without_an_iteration_is_not_alive_although_its_health_is_good() -> None:
    engine = Engine(stall_seconds=120)
    engine.observe(ok(7, busy=1), 0)
    engine.observe(ok(8, busy=1), 10)
    engine.observe(ok(8, busy=1), 130)
    assert not engine.ill(130)
    engine.observe(ok(8, busy=1), 131)
    assert "no progress" in engine.ill(131)
    engine.observe(ok(9, busy=1), 132)
    assert not engine.ill(132)


def test_an_idle_engine_does_not_have_to_iterate() -> None:
    engine = Engine(stall_seconds=120)
    for second in range(0, 1000, 50):
        engine.observe(ok(7), second)
    engine.observe(ok(7, busy=1), 1000)  # work has just come
    assert not engine.ill(1000)


def test_an_engine_without_a_heartbeat_is_taken_by_its_health() -> None:
    engine = Engine(stall_seconds=120)
    for second in range(0, 1000, 50):
        engine.observe(Sample(Health.OK), second)
        assert not engine.ill(second)
    engine.observe(Sample(Health.SLOW), 1071)
    assert engine.ill(1071)


def test_a_heartbeat_that_cannot_be_read_is_not_replaced_by_health() -> None:
    engine = Engine(stall_seconds=120)
    engine.observe(ok(7, busy=1), 0)
    engine.observe(Sample(Health.OK), 121)
    assert engine.ill(121)


@pytest.mark.parametrize("health", [Health.FAILING, Health.REFUSED])
def test_a_failing_or_absent_engine_is_not_alive(health: Health) -> None:
    engine = Engine(stall_seconds=120)
    assert engine.ill(0)
    engine.observe(Sample(health), 0)
    assert engine.ill(0)


def test_a_slow_start_is_no_restart() -> None:
    engine = Engine(stall_seconds=120)
    changes = [engine.observe(Sample(Health.REFUSED), second) for second in range(100)]
    changes.append(engine.observe(ok(0), 100))
    assert set(changes) == {Change.NONE}
    assert engine.restarts == 0
    assert not engine.ill(100)


def test_going_and_coming_back_is_told_once_each() -> None:
    engine = Engine(stall_seconds=120)
    engine.observe(ok(5), 0)
    refused = Sample(Health.REFUSED)
    changes = [engine.observe(refused, 1), engine.observe(refused, 2), engine.observe(ok(0), 500)]
    assert changes == [Change.WENT, Change.NONE, Change.CAME_BACK]
    assert engine.restarts == 1
    assert not engine.ill(500)


@pytest.mark.parametrize(
    ("before", "after", "another"),
    [
        (ok(5, started=100), ok(9, started=200), True),
        (ok(5, started=100), ok(9, started=100), False),
        (ok(5), ok(0), True),
        (ok(5), ok(5), False),
        (ok(None), ok(None), False),
    ],
)
def test_a_restart_between_two_samples_is_seen(
    before: Sample, after: Sample, another: bool
) -> None:
    engine = Engine(stall_seconds=120)
    engine.observe(before, 0)
    assert (engine.observe(after, 1) is Change.CAME_BACK) == another
    assert engine.restarts == int(another)
