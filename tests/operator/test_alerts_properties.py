"""What holds whatever happens: random numbers, lost writes and crashes, in virtual time."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchfleet_operator.api.alerts import Remediation
from batchfleet_operator.observed import parse_time
from batchfleet_operator.remediation.alerts import Judgement
from batchfleet_operator.remediation.presets import may_do
from tests.operator.remedied import TICK_SECONDS, Fleet, rule, signals

UP = {"type": "ScaleBatchSize", "factorPercent": 150, "minBatchSize": 10, "maxBatchSize": 90}
RULES: dict[str, dict[str, Any]] = {
    "slow": {"preset": "InterTokenLatency", "above": "1"},
    "ill": {"preset": "ErrorRate", "above": "1"},
    "full": {"preset": "Load", "above": "1"},
    "few": {"query": "1", "samplesQuery": "1", "above": "1", "action": UP},
    "stalled": {"preset": "EngineStalled", "above": "1"},
    "alert": {"alertName": "A", "action": {"type": "Rollback"}},
}
VALUES = st.sampled_from([0.1, 0.7, 0.9, 1.1, 1.5, 2.5, None, float("nan")])
BY_POD = st.lists(st.sampled_from([0.1, 1.2, 9.0]), min_size=3, max_size=3)


@st.composite
def services(draw: st.DrawFn) -> Fleet:
    names = draw(st.lists(st.sampled_from(sorted(RULES)), min_size=1, max_size=3, unique=True))
    rules = [
        rule(
            name,
            **RULES[name]
            | {
                "mode": draw(st.sampled_from(["Enforce", "Enforce", "Observe"])),
                "cooldownSeconds": draw(st.sampled_from([1, 60, 200])),
                "verifySeconds": draw(st.sampled_from([1, 60])),
                "confirmSeconds": draw(st.sampled_from([0, 15, 30])),
            },
        )
        for name in names
    ]
    return Fleet(
        rules,
        Remediation(mode="Enforce", max_actions_per_hour=draw(st.sampled_from([1, 3, 16]))),
        facts={
            "max_replicas": draw(st.sampled_from([None, 3, 9])),
            "can_roll_back": True,
            "rollout_began": Fleet([]).now,
            "signals": signals(),
        },
    )


def tick(fleet: Fleet, data: st.DataObject) -> None:
    """Prometheus answers something for every rule, or nothing."""
    fleet.now += timedelta(seconds=TICK_SECONDS)
    for each in fleet.rules:
        value = data.draw(VALUES)
        count = data.draw(st.integers(1, 6))
        waiting = data.draw(st.sampled_from([None, None, 0.9]))
        by_pod = dict(zip([p.name for p in fleet.pods], data.draw(BY_POD), strict=False))
        for _ in range(count):  # a while of the same, so that rules get confirmed
            alert = None if value is None else "firing" if value > 1 else "inactive"
            fleet.read(value, each.name, by_pod=by_pod, alert=alert, queue_share=waiting)


class Witness:
    """Looks at every look, and holds what is seen against what is promised."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.acted: set[str] = set()

    def look(self, *, acts: bool, stores: bool) -> Judgement:
        fleet = self.fleet
        before = fleet.stored
        killed, limit, queue = list(fleet.restarted), fleet.limit, fleet.queue
        judgement = fleet.look(acts=acts, stores=stores)
        under_way = {each.id: each for each in before.intents or ()}
        assert len(judgement.intents) <= 1
        done = fleet.restarted != killed or fleet.limit != limit or fleet.queue != queue
        if done or judgement.restart or judgement.roll_back or judgement.floor:
            by_rule_taken_out = before.automatic is not None and judgement.automatic is None
            assert under_way or by_rule_taken_out, "nothing without an intent that was stored"
        for each in judgement.intents:
            if each.id not in under_way:
                self._is_allowed(each.rule, each.action)
                automatic = None if before.automatic is None else before.automatic
                assert judgement.automatic == automatic, "only decided"
                assert judgement.restart is None
        return judgement

    def _is_allowed(self, name: str, action: str) -> None:
        fleet = self.fleet
        asked = next(each for each in fleet.rules if each.name == name)
        assert asked.mode != "Observe"
        latest = fleet.readings[name][-1]
        if asked.alert_name is None:
            assert latest.value is not None
            assert latest.value == latest.value, "not NaN"
            if action != "ComeBack":
                assert max(latest.value, *latest.by_pod.values()) > 1
        else:
            assert latest.alert == "firing"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(fleet=services(), data=st.data())
def test_whatever_happens(fleet: Fleet, data: st.DataObject) -> None:
    witness = Witness(fleet)
    for _ in range(data.draw(st.integers(10, 40))):
        tick(fleet, data)
        for _ in range(6):
            fate = data.draw(st.sampled_from(["whole"] * 6 + ["dies", "lost"]))
            said = witness.look(acts=fate != "dies", stores=fate == "whole")
            if fate == "whole" and said.again_in_seconds != 0:
                break
        assert fleet.limit is not None
        assert 10 <= fleet.limit <= 90
        assert fleet.queue is None or 125 <= fleet.queue < 1000
    assert len(fleet.restarted) == len(set(fleet.restarted))
    decided = [each for each in fleet.decided.values() if each.action != "ComeBack"]
    assert len(fleet.restarted) <= sum(each.action == "RestartPod" for each in decided)
    assert fleet.rolled_back <= sum(each.action == "Rollback" for each in decided)
    assert len(fleet.history) <= 20
    can = {each.name: {*may_do(each), "ComeBack"} for each in fleet.rules}
    assert all(each.action in can[each.rule] for each in fleet.history)
    times = sorted(parse_time(each.began) for each in decided)
    most = fleet.remediation.max_actions_per_hour or 3
    for first, over in zip(times, times[most:], strict=False):
        assert over - first >= timedelta(hours=1), "the budget"
    for asked in fleet.rules:
        own = sorted(parse_time(each.began) for each in decided if each.rule == asked.name)
        for one, next_one in pairwise(own):
            assert next_one - one >= timedelta(seconds=asked.cooldown_seconds or 0)


@settings(max_examples=60, deadline=None)
@given(
    fates=st.lists(st.sampled_from(["whole", "dies", "lost"]), max_size=12),
    what=st.sampled_from(["slow", "ill", "full", "alert"]),
)
def test_what_is_decided_is_done_once_wherever_the_operator_dies(
    fates: list[str], what: str
) -> None:
    fleet = Fleet(
        [rule(what, **RULES[what] | {"confirmSeconds": 0})],
        facts={"max_replicas": 9, "can_roll_back": True, "rollout_began": Fleet([]).now},
    )
    by_pod = {"chat-1-0": 9.0, "chat-1-1": 0.1, "chat-1-2": 0.1}
    fleet.now += timedelta(seconds=TICK_SECONDS)
    fleet.read(1.5, what, by_pod=by_pod, alert="firing")
    for fate in fates:
        fleet.look(acts=fate != "dies", stores=fate == "whole")
    fleet.looks()
    fleet.looks()
    done = (
        len(fleet.restarted),
        fleet.rolled_back,
        fleet.limit,
        len(fleet.pods),
    )
    assert (
        done
        == {
            "slow": (0, 0, 48, 3),
            "ill": (1, 0, 64, 3),
            "full": (0, 0, 64, 4),
            "alert": (0, 1, 64, 3),
        }[what]
    )
    assert len(fleet.decided) == 1


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_observe_never_acts(data: st.DataObject) -> None:
    fleet = data.draw(services())
    fleet.rules = [each.model_copy(update={"mode": "Observe"}) for each in fleet.rules]
    for _ in range(40):
        tick(fleet, data)
        said = fleet.look()
        assert (said.intents, said.automatic, said.restart) == ((), None, None)
        assert (said.roll_back, said.floor, said.pause_rollout) == (None, None, None)
    assert {each.outcome for each in fleet.history} <= {"Observed"}
