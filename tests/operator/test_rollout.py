"""The rollout's promises, over any state that a fleet can be in."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from batchfleet_operator.rollouts.shares import Share, step


@st.composite
def shares(draw: st.DrawFn, revision: int) -> Share:
    asked = draw(st.integers(0, 8))
    pods = draw(st.integers(0, 8))
    ready = draw(st.integers(0, pods))
    return Share(revision, asked, pods, ready, broken=draw(st.integers(0, pods - ready)))


fleets = st.lists(st.integers(1, 5), unique=True, max_size=4).flatmap(
    lambda numbers: st.tuples(*(shares(revision=n) for n in numbers)) if numbers else st.just(())
)
totals = st.integers(0, 8)
bounds = st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(any)


@given(totals, st.integers(1, 5), fleets, bounds)
def test_one_step_keeps_both_bounds(
    total: int, target: int, fleet: tuple[Share, ...], bound: tuple[int, int]
) -> None:
    surge, unavailable = bound
    after = step(total, target, fleet, surge, unavailable)

    assert set(after) == {target, *(share.revision for share in fleet)}
    assert all(count >= 0 for count in after.values())
    assert sum(after.values()) <= total + surge
    before = sum(share.serving for share in fleet)
    left = sum(min(share.ready, after[share.revision]) for share in fleet)
    assert left >= min(before, total - unavailable)


@given(totals, st.integers(1, 5), fleets, bounds)
def test_growing_waits_for_pods_that_are_still_there(
    total: int, target: int, fleet: tuple[Share, ...], bound: tuple[int, int]
) -> None:
    surge, unavailable = bound
    asked = {share.revision: share.asked for share in fleet}
    after = step(total, target, fleet, surge, unavailable)
    if after[target] > asked.get(target, 0):
        others = [share for share in fleet if share.revision != target]
        there = sum(max(after[share.revision], share.pods) for share in others)
        assert there + after[target] <= total + surge


@dataclass
class Pods:
    """Deployments as their controller keeps them: unready pods are removed first."""

    asked: dict[int, int] = field(default_factory=dict)
    pods: dict[int, list[bool]] = field(default_factory=dict)  # per revision, whether each is ready

    def shares(self) -> list[Share]:
        return [Share(n, self.asked[n], len(self.pods[n]), sum(self.pods[n])) for n in self.asked]

    def follow(self, asked: dict[int, int]) -> None:
        self.asked = asked
        for n, count in asked.items():
            pods = sorted(self.pods.get(n, []), reverse=True)
            self.pods[n] = pods[:count] + [False] * (count - len(pods))

    def total(self) -> int:
        return sum(map(len, self.pods.values()))

    def ready(self) -> int:
        return sum(map(sum, self.pods.values()))


@given(
    total=st.integers(1, 8),
    bound=bounds,
    old=st.lists(st.integers(0, 8), max_size=3),
    seed=st.integers(0, 2**16),
)
def test_a_rollout_ends_within_its_bounds(
    total: int, bound: tuple[int, int], old: list[int], seed: int
) -> None:
    surge, unavailable = bound
    chance = random.Random(seed)
    fleet = Pods()
    shares_of_total = dict(enumerate(old, start=1))
    fleet.follow(shares_of_total)
    for n in fleet.pods:
        fleet.pods[n] = [True] * len(fleet.pods[n])
    target = len(old) + 1
    began_with = fleet.ready()

    for _ in range(200):
        asked = step(total, target, fleet.shares(), surge, unavailable)
        if asked == fleet.asked and all(all(pods) for pods in fleet.pods.values()):
            break
        floor = min(fleet.ready(), total - unavailable)
        fleet.follow(asked)
        assert fleet.total() <= max(total + surge, began_with)
        assert fleet.ready() >= floor
        waiting = [(n, i) for n, pods in fleet.pods.items() for i, up in enumerate(pods) if not up]
        if waiting:  # one pod, any of them, gets ready
            n, i = chance.choice(waiting)
            fleet.pods[n][i] = True
    else:
        raise AssertionError("the rollout does not end")
    assert {n: len(pods) for n, pods in fleet.pods.items() if pods} == {target: total}


def test_a_revision_that_never_gets_ready_stops_at_the_surge() -> None:
    fleet = [Share(1, asked=3, pods=3, ready=3), Share(2, asked=1, pods=1, ready=0)]
    assert step(3, 2, fleet, max_surge=1, max_unavailable=0) == {1: 3, 2: 1}


def test_without_a_spare_gpu_pods_are_swapped_in_place() -> None:
    one = [Share(1, asked=2, pods=2, ready=2)]
    assert step(2, 2, one, max_surge=0, max_unavailable=1) == {1: 1, 2: 0}
    gone = [Share(1, asked=1, pods=1, ready=1), Share(2, asked=0, pods=0, ready=0)]
    assert step(2, 2, gone, max_surge=0, max_unavailable=1) == {1: 1, 2: 1}


def test_broken_pods_make_room_at_once() -> None:
    broken = [Share(1, asked=2, pods=2, ready=0, broken=2)]
    assert step(2, 2, broken, max_surge=1, max_unavailable=0)[1] == 0


def test_pods_that_only_blink_are_kept() -> None:
    blinking = [Share(1, asked=3, pods=3, ready=2), Share(2, asked=1, pods=1, ready=0)]
    assert step(3, 2, blinking, max_surge=1, max_unavailable=0) == {1: 3, 2: 1}


def test_scaling_without_a_rollout_is_one_step() -> None:
    only = [Share(1, asked=1, pods=1, ready=1)]
    assert step(5, 1, only, max_surge=1, max_unavailable=0) == {1: 5}
    assert step(0, 1, only, max_surge=1, max_unavailable=0) == {1: 0}
