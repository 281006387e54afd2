"""``spec.autoscaling``: bounds and aims of the fleet's size, which the operator chooses itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from batchfleet_operator.api.schema import MAX_REPLICAS, Model, Rule, Word, rules

Day = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
Replicas = Annotated[int, Field(ge=1, le=MAX_REPLICAS)]
Objective = Literal["Interactive", "Batch"]


class Schedule(Model):
    """A higher minimum at certain hours."""

    model_config = rules(
        Rule(
            "self.fromHour < self.toHour",
            "autoscaling.schedules: fromHour must be below toHour; hours that pass midnight are "
            "two entries.",
        )
    )

    days: Annotated[tuple[Day, ...], Field(min_length=1, max_length=7)] = Field(
        description="Days of the week."
    )
    from_hour: Annotated[int, Field(ge=0, le=23)] = Field(description="First hour, such as 8.")
    to_hour: Annotated[int, Field(ge=1, le=24)] = Field(
        description="Hour at whose beginning it ends, such as 18."
    )
    min_replicas: Replicas = Field(description="Least pods during these hours.")


class Autoscaling(Model):
    """The operator sizes the fleet from the work that is offered to it."""

    model_config = rules(
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "autoscaling.minReplicas is above autoscaling.maxReplicas: lower it, or raise "
            "maxReplicas.",
        ),
        Rule(
            "!has(self.fallbackReplicas) || (self.fallbackReplicas >= self.minReplicas && "
            "self.fallbackReplicas <= self.maxReplicas)",
            "autoscaling.fallbackReplicas must lie between minReplicas and maxReplicas.",
        ),
        Rule(
            "!has(self.schedules) || self.schedules.all(s, s.minReplicas <= self.maxReplicas)",
            "autoscaling.schedules: a minReplicas is above autoscaling.maxReplicas: lower it, or "
            "raise maxReplicas.",
        ),
    )

    min_replicas: Replicas = Field(default=1, description="Least pods, always.")
    max_replicas: Replicas = Field(description="Most pods, rollouts' surge not counted.")
    objective: Objective = Field(
        default="Interactive",
        description="Interactive: somebody waits, so the fleet grows ahead of a rising rate. "
        "Batch: the work must get done, so a backlog may wait and a trend is not chased.",
    )
    target_utilization_percent: Annotated[int, Field(ge=10, le=95)] | None = Field(
        default=None,
        description="How much of a pod's batch the offered work may fill; what is left is for the "
        "time that a new pod takes to start. Unset: 70, with objective Batch 85.",
    )
    scale_down_window_seconds: Annotated[int, Field(ge=10, le=3600)] | None = Field(
        default=None,
        description="The fleet shrinks only to what could have carried the load of all of this "
        "time; unset: 1800.",
    )
    fallback_replicas: Replicas | None = Field(
        default=None,
        description="Least pods while the metrics are gone; unset: as many as there are.",
    )
    work_milliseconds_per_request: Annotated[int, Field(ge=1, le=86_400_000)] | None = Field(
        default=None,
        description="How long a pod at full batch works on one request, on average; unset: learnt "
        "while requests wait.",
    )
    time_zone: Word | None = Field(
        default=None,
        description="Of the schedules, such as Europe/Berlin; unset: UTC. Where nobody knows it, "
        "the highest minimum of the schedules holds at all hours.",
    )
    schedules: Annotated[tuple[Schedule, ...], Field(max_length=16)] | None = Field(
        default=None,
        description="Higher minimums at certain hours, from a pod's start-up time before; the "
        "highest one holds.",
    )
