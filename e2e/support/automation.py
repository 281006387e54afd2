"""What the operator's automation tells of one service: rules, actions, scaling, the rollout."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from e2e.support.fleet import Fleet
from e2e.support.kube import Object
from e2e.support.wait import NotYetError, until

QUICK: dict[str, Any] = {
    "windowSeconds": 5,
    "confirmSeconds": 2,
    "minSamples": 5,
    "verifySeconds": 8,
    "cooldownSeconds": 5,
}
"""Times of a rule that a test can wait for; the defaults are minutes."""


def quick(name: str, **rule: Any) -> dict[str, Any]:
    """A rule of ``spec.alertActions`` that acts, with times of seconds; None leaves a field out."""
    fields = {"name": name, "mode": "Enforce", **QUICK, **rule}
    return {field: value for field, value in fields.items() if value is not None}


@dataclass(frozen=True)
class Automation:
    """The automation of ``fleet``, as its status tells it."""

    fleet: Fleet

    def status(self) -> Object:
        status: Object = self.fleet.object().get("status", {})
        return status

    def rule(self, name: str) -> Object:
        """How a rule stands; raises NotYetError while nothing is said of it."""
        for one in self.status().get("rules", ()):
            if one["name"] == name:
                found: Object = one
                return found
        raise NotYetError(f"nothing is said of the rule {name}")

    def intents(self) -> list[Object]:
        found: list[Object] = self.status().get("intents", [])
        return found

    def history(self) -> list[Object]:
        found: list[Object] = self.status().get("history", [])
        return found

    def outcomes(self, rule: str) -> list[str]:
        """How each of the rule's actions ended, oldest first."""
        return [one["outcome"] for one in self.history() if one["rule"] == rule]

    def untouched(self) -> None:
        """Raises NotYetError when there is, or was, any action."""
        if acts := [*self.intents(), *self.history()]:
            raise NotYetError(f"there are actions: {acts}")

    def wait_rule(self, name: str, *states: str, within_seconds: float) -> Object:
        """The rule once it is in one of these states."""

        def look() -> Object:
            found = self.rule(name)
            if found["state"] not in states:
                raise NotYetError(f"{found['state']}, {found['reason']}: {found['message']}")
            return found

        what = f"rule {name}: {' or '.join(states)}"
        return until(what, look, within_seconds=within_seconds, every_seconds=0.3)

    def wait_intent(self, phase: str, *, within_seconds: float) -> Object:
        """The action that is in this phase."""

        def look() -> Object:
            for one in self.intents():
                if one["phase"] == phase:
                    return one
            rules = [(one["name"], one["state"]) for one in self.status().get("rules", ())]
            raise NotYetError(f"intents {self.intents()}, rules {rules}")

        what = f"an action in phase {phase}"
        return until(what, look, within_seconds=within_seconds, every_seconds=0.1)

    def wait_outcome(self, rule: str, outcome: str, *, within_seconds: float) -> Object:
        """The rule's first action that ended so: another may have followed by now."""

        def look() -> Object:
            ended = [one for one in self.history() if one["rule"] == rule]
            for one in ended:
                if one["outcome"] == outcome:
                    return one
            raise NotYetError(f"history {ended}, intents {self.intents()}")

        what = f"rule {rule}: {outcome}"
        return until(what, look, within_seconds=within_seconds, every_seconds=0.3)


def moment(told: str) -> float:
    """Unix seconds of a time in a status."""
    return datetime.strptime(told, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
