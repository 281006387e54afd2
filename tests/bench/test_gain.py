"""The pure parts of bench/gain: a wrong list or a wrong ratio would be a wrong claim."""

from __future__ import annotations

import json
from collections import Counter
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.gain import trials, workload
from bench.gain.figures import Outcome, merged_at_most, percentile, ratio
from bench.gain.fleet import Arm
from bench.gain.workload import SCENARIOS, Scenario

SHARES = st.sampled_from([scenario.share for scenario in SCENARIOS])
LENGTHS = st.integers(min_value=20, max_value=400)


def outcome(seconds: float, *, failures: int = 0, **results: int) -> Outcome:
    ttft = (0.1,) * sum(results.values())
    return Outcome(seconds, ttft, results, failures)


@given(SHARES, LENGTHS, st.integers(0, 10**6))
def test_the_share_of_repeats_is_what_the_scenario_says(
    share: float, requests: int, seed: int
) -> None:
    asked = workload.order(share, requests, seed)
    assert len(asked) == requests
    assert requests - len(set(asked)) == round(share * requests)


@given(SHARES, LENGTHS, st.integers(0, 10**6))
def test_a_seed_gives_one_list(share: float, requests: int, seed: int) -> None:
    assert workload.order(share, requests, seed) == workload.order(share, requests, seed)


def test_another_seed_gives_another_list() -> None:
    assert workload.order(0.8, 400, 1) != workload.order(0.8, 400, 2)


def test_a_few_prompts_are_asked_often_and_many_once() -> None:
    times = sorted(Counter(workload.order(0.8, 2000, 7)).values(), reverse=True)
    assert times[0] > 10 * fmean(times)
    assert sum(1 for each in times if each <= 2) > len(times) / 4


def test_new_prompts_come_until_the_end_of_the_list() -> None:
    """Else the engine would be idle in the last part, and its time would not count."""
    asked = workload.order(0.8, 2000, 7)
    seen, new_late = set[int](), 0
    for position, number in enumerate(asked):
        if number not in seen and position >= 1500:
            new_late += 1
        seen.add(number)
    assert new_late > 400 / 8


def test_repeats_come_in_bursts_and_also_much_later() -> None:
    asked = workload.order(0.8, 2000, 7)
    first: dict[int, int] = {}
    behind = [
        at - first[number] for at, number in enumerate(asked) if at != first.setdefault(number, at)
    ]
    near = sum(1 for distance in behind if distance <= 3 * workload.BURST_REQUESTS)
    assert 0.4 < near / len(behind) < 0.8
    assert max(behind) > 1000


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_requests_are_equal_exactly_where_the_list_repeats_itself(scenario: Scenario) -> None:
    asked = workload.order(scenario.share, 300, 1)
    bodies = workload.bodies(scenario, asked, "tiny", "00000000")
    assert len(set(bodies)) == len(set(asked))
    assert all(json.loads(body)["temperature"] == 0 for body in bodies)
    by_number = dict(zip(asked, bodies, strict=True))
    assert bodies == [by_number[number] for number in asked]


def test_no_arm_profits_from_prompts_of_another() -> None:
    """Every prompt begins with what no other trial's prompts begin with."""
    planned = trials.plan(SCENARIOS, 3)
    nonces = {trials.nonce(trial, pods) for trial in planned for pods in (1, 4)}
    assert len(nonces) == 2 * len(planned)
    for nonce in nonces:
        (body,) = workload.bodies(SCENARIOS[0], [0], "tiny", nonce)
        assert json.loads(body)["messages"][0]["content"].startswith(nonce)


def test_every_arm_has_its_turn_in_every_round_and_none_is_always_first() -> None:
    planned = trials.plan(SCENARIOS, 4)
    turns = [planned[at : at + len(Arm)] for at in range(0, len(planned), len(Arm))]
    for turn in turns:
        assert {trial.arm for trial in turn} == set(Arm)
        assert len({(trial.scenario, trial.round) for trial in turn}) == 1
    assert {turn[0].arm for turn in turns} == set(Arm)


def test_the_ratio_compares_the_times_of_one_round_with_each_other() -> None:
    direct = [outcome(10, direct=5), outcome(40, direct=5), outcome(9, direct=5)]
    ours = [outcome(5, cached=5), outcome(10, cached=5), outcome(3, cached=5)]
    assert ratio(direct, ours) == 3  # of 2, 4 and 3


def test_a_list_that_was_not_answered_whole_has_no_ratio() -> None:
    assert ratio([outcome(10, direct=5)], [outcome(1, failures=1, cached=4)]) is None
    assert ratio([outcome(10, failures=1, direct=4)], [outcome(1, cached=5)]) is None
    assert ratio([], []) is None


def test_the_merged_share_counts_joined_and_cached_of_all_requests() -> None:
    assert outcome(1, direct=4, joined=3, cached=2, failures=1).merged_share == 0.5
    assert outcome(1).merged_share == 0


def test_a_percentile_is_a_time_that_was_measured() -> None:
    times = [0.5, 0.1, 0.2, 0.4, 0.3]
    assert percentile(times, 50) == 0.3
    assert percentile(times, 99) == 0.5
    assert percentile(times, 0) == 0.1
    assert percentile([], 50) is None


def test_in_one_pod_every_repeat_can_merge() -> None:
    asked = workload.order(0.8, 1000, 3)
    assert merged_at_most(asked, 1) == pytest.approx(0.8)


@given(SHARES, LENGTHS, st.integers(1, 16))
def test_more_pods_merge_less(share: float, requests: int, pods: int) -> None:
    asked = workload.order(share, requests, 1)
    assert merged_at_most(asked, pods + 1) <= merged_at_most(asked, pods) + 1e-9


def test_a_prompt_asked_twice_meets_itself_in_one_of_four_pods_a_quarter_of_the_time() -> None:
    assert merged_at_most([0, 0], 4) == pytest.approx(0.25 / 2)
