"""``spec.rollout`` and ``spec.restart``: how pods of a new revision replace the old ones."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from batchfleet_operator.api.schema import (
    MAX_REPLICAS,
    Count,
    Decimal,
    Model,
    Percent,
    Rule,
    Seconds,
    Word,
    rules,
)


class Canary(Model):
    """How a step of a rollout is judged, before the next one begins."""

    sample_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=60, description="Time between two looks at the new pods, the first one included."
    )
    samples: Annotated[int, Field(ge=1, le=20)] = Field(
        default=3, description="Good ones that a step needs. Two bad ones in a row end it."
    )
    deadline_seconds: Seconds = Field(
        default=900,
        description="How long a step may stay undecided. Then it goes on where the service has too "
        "few requests to judge by, and is paused where it has enough.",
    )
    min_requests: Count | None = Field(
        default=None,
        description="Requests that the new pods, and the old ones, must have had for a sample to "
        "mean anything; unset: 20.",
    )
    max_error_percent: Percent | None = Field(
        default=None,
        description="Percentage points by which the new pods' share of errors may exceed the old "
        "pods' at the same time; unset: 5.",
    )
    max_slower_percent: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        default=None,
        description="By how much the new pods' time to first token may exceed the old pods' (a "
        "tenth of a second is always allowed); unset: 50.",
    )


class Analysis(Model):
    """What a rollout is judged by, in place of errors and time to first token."""

    model_config = rules(
        Rule(
            "has(self.query) != has(self.alertName)",
            "rollout.analysis has one source: set exactly one of query and alertName.",
        ),
        Rule(
            "!has(self.query) || (has(self.above) != has(self.below))",
            "rollout.analysis.query gives a number, so it needs its bound: set exactly one of "
            "above and below.",
        ),
        Rule(
            "!has(self.alertName) || (!has(self.above) && !has(self.below))",
            "rollout.analysis.alertName brings its own bound: leave above and below out.",
        ),
    )

    query: Annotated[str, Field(min_length=1, max_length=2048)] | None = Field(
        default=None,
        description="PromQL that gives one number; $namespace, $service, $revision (the new "
        "revision's number) and $window are replaced. The operator's configuration must allow "
        "queries.",
    )
    alert_name: Word | None = Field(
        default=None,
        description="Name of an alert of Prometheus' own: bad while it fires.",
    )
    above: Decimal | None = Field(default=None, description="Bad above this.")
    below: Decimal | None = Field(default=None, description="Bad below this.")


class Rollout(Model):
    """How pods of a new revision replace the old ones."""

    model_config = rules(
        Rule(
            "self.maxSurge > 0 || self.maxUnavailable > 0",
            "rollout.maxSurge and rollout.maxUnavailable are both 0, so no pod could ever be "
            "replaced: set maxSurge to 1, or maxUnavailable to 1 where there is no spare GPU.",
        ),
        Rule(
            "self.strategy != 'Rolling' || (!has(self.canary) && !has(self.analysis))",
            "rollout.strategy Rolling judges nothing: leave rollout.canary and rollout.analysis "
            "out, or use strategy Auto.",
        ),
        Rule(
            "!has(self.analysis) || !has(self.canary) || "
            "(!has(self.canary.maxErrorPercent) && !has(self.canary.maxSlowerPercent))",
            "rollout.analysis takes the place of errors and time to first token: leave "
            "canary.maxErrorPercent and canary.maxSlowerPercent out.",
        ),
    )

    strategy: Literal["Auto", "Rolling"] = Field(
        default="Auto",
        description="Auto: one pod, a quarter, all, each step judged by what Prometheus says of "
        "the new pods beside the old ones; without a Prometheus, as Rolling. Rolling: pod by pod, "
        "as they get ready.",
    )
    max_surge: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = Field(
        default=1, description="How many pods may exist above replicas during a rollout."
    )
    max_unavailable: Annotated[int, Field(ge=0, le=MAX_REPLICAS)] = Field(
        default=0, description="How many ready pods below replicas a rollout may go."
    )
    allow_downtime: bool = Field(
        default=False,
        description="A rollout may take the last ready pod, where there is no spare GPU for its "
        "successor. Otherwise it never does, whatever maxUnavailable says.",
    )
    unschedulable_seconds: Seconds = Field(
        default=300,
        description="How long a new pod waits for a node, or for a quota, before pods are swapped "
        "in place: an old one goes first, one at a time, whatever maxUnavailable says.",
    )
    progress_deadline_seconds: Annotated[int, Field(ge=5, le=86_400)] = Field(
        default=1800, description="After how long a pod that is not ready counts as stuck."
    )
    auto_rollback: bool = Field(
        default=True,
        description="Go back to the stable revision when the new one fails to start twice, is "
        "stuck, or is judged bad; otherwise the rollout stops where it is, and says so.",
    )
    canary: Canary | None = Field(
        default=None, description="How a step is judged; unset: as its fields say."
    )
    analysis: Analysis | None = Field(
        default=None, description="Judge by this; unset: by errors and time to first token."
    )

    @property
    def judging(self) -> Canary:
        """How steps are judged, where the spec leaves it open too."""
        return self.canary or Canary()


class Restart(Model):
    """A restart of all pods, as a rollout."""

    id: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="Any text, such as a date: changing it replaces all pods once."
    )
