"""An edit of the batch in the spec is left alone for an hour, whatever was in force before it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from batchfleet_operator.decision import Object
from tests.operator.test_control import SLOW_TOKENS, fleet, live_limit, looks, slow, tick

ENFORCED: Object = {**SLOW_TOKENS, "mode": "Enforce"}


def test_an_edit_is_left_alone_though_no_action_had_set_anything() -> None:
    cluster = fleet(batching={"maxBatchSize": 8}, alertActions=[ENFORCED])
    tick(cluster, slow())
    cluster.change(batching={"maxBatchSize": 6})
    looks(cluster)
    assert [event.reason for event in cluster.events].count("HeldByHand") == 1
    for _ in range(4 * 58):
        tick(cluster, slow())
    assert live_limit(cluster) == 6
    assert cluster.parent["status"]["rules"][0]["reason"] == "HeldByHand"
    for _ in range(4 * 4):
        tick(cluster, slow())
    assert live_limit(cluster) < 6


@pytest.mark.parametrize(
    ("actions", "change"),
    [
        ([ENFORCED], {"replicas": 2}),
        ([ENFORCED], {"engine": {"type": "vLLM", "model": "m", "maxNumSeqs": 7}}),
        ([SLOW_TOKENS], {"batching": {"maxBatchSize": 6}}),
        ([{**ENFORCED, "action": {"type": "Notify"}}], {"batching": {"maxBatchSize": 6}}),
    ],
)
def test_nothing_is_held_where_nobody_edited_it_or_no_rule_turns_it(
    actions: list[Object], change: Object
) -> None:
    if actions[0].get("action", {}).get("type") == "Notify":
        actions = [{"name": "told", "preset": "InterTokenLatency", "action": {"type": "Notify"}}]
    cluster = fleet(batching={"maxBatchSize": 8}, alertActions=actions)
    tick(cluster, slow(0.01))
    cluster.change(**change)
    cluster.settle()
    for _ in range(3):
        tick(cluster, slow(0.01))
    assert "automatic" not in cluster.parent["status"]


def test_what_an_action_gives_back_is_no_edit() -> None:
    cluster = fleet(batching={"maxBatchSize": 8}, alertActions=[ENFORCED])
    for _ in range(4):
        tick(cluster, slow())
    assert live_limit(cluster) == 6
    for _ in range(80):
        tick(cluster, slow(0.01))
    assert live_limit(cluster) == 8
    cluster.now += timedelta(seconds=15)
    looks(cluster)
    assert "automatic" not in cluster.parent["status"]
    assert "HeldByHand" not in {event.reason for event in cluster.events}
