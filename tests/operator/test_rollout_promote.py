"""The annotation: `paused` holds; `promote` is for the revision asked for then, no later one."""

from __future__ import annotations

import pytest

from batchfleet_operator import names
from tests.operator.judged import JudgedCluster, Numbers
from tests.operator.simulated import service
from tests.operator.test_rollout_judged import changed, failed, rolled_back

BAD = Numbers(errors=0.5)


def engine(size: int) -> dict[str, object]:
    return {"type": "vLLM", "model": "m", "maxNumSeqs": size}


def promoted() -> JudgedCluster:
    """Revision 2 is bad, and somebody wanted it all the same; their annotation is still there."""
    cluster = JudgedCluster(service("chat", replicas=4))
    cluster.settle()
    cluster.tick()
    cluster.says[2] = BAD
    cluster.annotate("promote")
    cluster.change(engine=engine(16))
    cluster.pass_time(240)
    assert cluster.deployed() == {2: 4}
    return cluster


def test_promote_has_it_anyway() -> None:
    cluster = rolled_back()
    cluster.annotate("promote")
    cluster.pass_time(120)
    assert cluster.deployed()[2] == 2
    assert cluster.reason == names.AS_SPECIFIED
    assert failed(cluster) == set()
    cluster.annotate(None)
    cluster.pass_time(120)
    assert cluster.deployed()[2] == 2


def test_the_annotation_holds_and_releases() -> None:
    cluster = changed(replicas=4)
    cluster.pass_time(60)
    cluster.annotate("paused")
    cluster.pass_time(1800)
    assert cluster.deployed() == {1: 4, 2: 1}
    assert cluster.reason == names.ROLLOUT_PAUSED
    cluster.change(replicas=6)
    cluster.pass_time(60)
    assert cluster.deployed() == {1: 5, 2: 1}  # scaling goes on, with what is stable
    cluster.annotate(None)
    cluster.pass_time(60)
    assert cluster.rollout["state"] == "Judging"
    cluster.annotate("promote")
    cluster.pass_time(150)
    assert cluster.deployed()[2] == 6


@pytest.mark.parametrize("forgets", [False, True])
def test_a_later_rollout_is_judged_again(forgets: bool) -> None:
    cluster = promoted()
    cluster.says = {3: BAD}
    cluster.change(engine=engine(32))
    if forgets:
        cluster.parent["status"] = {}
    cluster.pass_time(360)
    assert cluster.deployed() == {2: 4}
    assert cluster.reason == names.ROLLED_BACK
    assert "promote chat-3" in cluster.message


def test_set_anew_it_holds_for_the_later_one() -> None:
    cluster = promoted()
    cluster.says = {3: BAD}
    cluster.change(engine=engine(32))
    cluster.pass_time(360)
    cluster.annotate(None)
    cluster.pass_time(30)
    cluster.annotate("promote")
    cluster.pass_time(240)
    assert cluster.deployed() == {3: 4}
    assert cluster.reason == names.AS_SPECIFIED


def test_a_name_says_for_which_one_it_is() -> None:
    cluster = promoted()
    cluster.says = {3: BAD}
    cluster.change(engine=engine(32))
    cluster.pass_time(360)
    cluster.annotate("promote chat-3")
    cluster.pass_time(240)
    assert cluster.deployed() == {3: 4}


def test_set_while_nothing_rolls_it_promotes_nothing_later() -> None:
    cluster = JudgedCluster(service("chat", replicas=4))
    cluster.settle()
    cluster.tick()
    cluster.annotate("promote")
    cluster.pass_time(60)
    cluster.says[2] = BAD
    cluster.change(engine=engine(16))
    cluster.pass_time(300)
    assert cluster.deployed() == {1: 4}
    assert cluster.reason == names.ROLLED_BACK


def test_many_revisions_later_it_is_still_not_for_them() -> None:
    cluster = promoted()
    cluster.says = {}
    for size in range(20, 27):
        cluster.change(engine=engine(size))
        cluster.pass_time(600)
    cluster.says[10] = BAD
    cluster.change(engine=engine(40))
    cluster.pass_time(300)
    assert cluster.deployed() == {9: 4}


def test_nothing_is_written_of_it_once_it_is_taken_off() -> None:
    cluster = promoted()
    cluster.annotate(None)
    cluster.pass_time(30)
    labels = cluster.children["ControllerRevision", "chat-2"]["metadata"]["labels"]
    assert names.LABEL_PROMOTED not in labels
