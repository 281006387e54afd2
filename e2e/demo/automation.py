"""The demo's last scene: the operator sizes the fleet, and watches a rule, by what it reads."""

from __future__ import annotations

from dataclasses import dataclass

from e2e.support.automation import Automation
from e2e.support.fleet import Fleet
from e2e.support.wait import NotYetError, until

ASKED = {
    "autoscaling": {"minReplicas": 1, "maxReplicas": 2},
    "alertActions": [{"name": "slow-tokens", "preset": "InterTokenLatency"}],
}
"""Observe is a rule's default: it only says what it would do."""
READING_SECONDS = 60


@dataclass(frozen=True)
class Told:
    """What the status says then; ``rule`` is about the only one."""

    wanted: int
    sizing: str
    rule: str


def hand_over(fleet: Fleet) -> Told:
    """Ask for both, and wait until the operator has read Prometheus for them."""
    fleet.patch_spec(**ASKED)
    automation = Automation(fleet)

    def look() -> Told:
        status = automation.status()
        scaling, rules = status.get("scaling"), status.get("rules")
        if not scaling or not rules:
            raise NotYetError("the status says nothing of scaling or rules yet")
        (rule,) = rules
        if rule["reason"] == "NotReadYet":
            raise NotYetError("the rule's number was not asked for yet")
        return Told(
            scaling["desiredReplicas"],
            f"{scaling['reason']}: {scaling['message']}",
            f"{rule['mode']}, {rule['reason']}: {rule['message']}",
        )

    what = "the operator says how many pods it wants"
    return until(what, look, within_seconds=READING_SECONDS)


def take_back(fleet: Fleet) -> None:
    """What an earlier run asked for: the counts below are of one pod."""
    fleet.patch_spec(replicas=1, **dict.fromkeys(ASKED))
