"""``status``: what the operator tells. Written whole, in one write, only when it changed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from batchfleet_operator.api.alerts import AutomationMode, RuleName
from batchfleet_operator.api.schema import CountOrZero, Decimal, Image, Model, Text, Word

Time = Annotated[str, Field(max_length=32, pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
"""RFC 3339 in UTC, to the second."""
Done = Literal["ScaleBatchSize", "ScaleOut", "RestartPod", "Rollback", "Shed", "Notify", "ComeBack"]
"""What the operator does for a rule: its action, or a step back to what the spec says."""
Setting = Literal["maxBatchSize", "maxQueueLength"]


class Condition(Model):
    """One thing that is or is not as it should be."""

    type: Annotated[str, Field(max_length=64)] = Field(description="What this is about.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it is so.")
    reason: Annotated[str, Field(max_length=64)] = Field(description="Why, in one word.")
    message: Annotated[str, Field(max_length=4096)] = Field(description="Why, for people.")
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] = Field(
        description="Generation of the spec that this was said about."
    )
    last_transition_time: Time = Field(description="When status last changed.")


class ImagesInUse(Model):
    """Images of the current revision."""

    engine: Image | None = Field(default=None, description="Image of the engine.")
    worker: Image | None = Field(default=None, description="Image of the sidecar.")


class Effective(Model):
    """The batch limits that pods of the current revision are given."""

    max_batch_size: CountOrZero | None = Field(
        default=None, description="Most requests in flight per pod; absent: no limit."
    )
    max_num_seqs: CountOrZero | None = Field(
        default=None,
        description="Most sequences that the engine runs at once; absent: its own default.",
    )
    source: Literal["MaxBatchSize", "MaxNumSeqs", "Clamped", "EngineDefault", "AlertAction"] = (
        Field(
            description="Where maxBatchSize comes from; Clamped: what the spec asks for is above "
            "what this revision's engine runs; AlertAction: status.automatic."
        )
    )
    since: Time = Field(description="Since when these limits hold.")


class Scaling(Model):
    """What the autoscaler wants, and what it has learnt."""

    desired_replicas: CountOrZero = Field(description="Pods that the fleet shall have.")
    reason: Word = Field(description="Which bound or demand decided, in one word.")
    message: Text = Field(description="The same for people, with the numbers.")
    since: Time = Field(description="Since when this many are wanted.")
    start_seconds: Annotated[tuple[CountOrZero, ...], Field(max_length=10)] | None = Field(
        default=None, description="How long the last pods took from creation to ready."
    )
    started_until: Time | None = Field(
        default=None, description="Pods created until then are counted in startSeconds."
    )
    lead_seconds: CountOrZero | None = Field(
        default=None, description="How far ahead the fleet is sized: the 90th percentile of them."
    )
    work_milliseconds: Annotated[tuple[CountOrZero, ...], Field(max_length=10)] | None = Field(
        default=None,
        description="Last estimates of a pod's work on one request, made while requests waited.",
    )
    work_measured: Time | None = Field(default=None, description="When the last of them was made.")
    floor_replicas: CountOrZero | None = Field(
        default=None, description="Least pods that a ScaleOut action asks for."
    )
    floor_until: Time | None = Field(default=None, description="Until then.")


class Automatic(Model):
    """Settings that alert actions have put in place of the spec's."""

    max_batch_size: CountOrZero | None = Field(default=None, description="Live limit per pod.")
    max_queue_length: CountOrZero | None = Field(default=None, description="Longest queue per pod.")
    rule: RuleName = Field(description="Whose action it was.")
    queue_rule: RuleName | None = Field(
        default=None,
        description="Whose action set maxQueueLength, where the limit is another rule's.",
    )
    since: Time = Field(description="When it was set.")
    spec_batch_size: CountOrZero | None = Field(
        default=None, description="What spec.batching.maxBatchSize was then: an edit ends this."
    )
    spec_queue_length: CountOrZero | None = Field(
        default=None, description="What spec.batching.maxQueueLength, or its profile's, was then."
    )
    held_until: Time | None = Field(
        default=None,
        description="Somebody edited one of the two meanwhile: no action touches them until then.",
    )


class Intent(Model):
    """An action that is under way: written before it is done, gone when its result is known."""

    id: Word = Field(description="Of this very action.")
    rule: RuleName = Field(description="Whose action it is.")
    action: Done = Field(
        description="What is done; ComeBack: a step back to what the spec says, after recovery."
    )
    phase: Literal["Acting", "Verifying", "Restoring"] = Field(
        description="Acting: being done. Verifying: done, its result is watched. Restoring: it "
        "made things worse and is being taken back."
    )
    began: Time = Field(description="When it was decided.")
    verify_at: Time | None = Field(default=None, description="When its result is judged.")
    pod: Word | None = Field(default=None, description="Name of the pod that it is about.")
    pod_uid: Word | None = Field(default=None, description="UID of that pod.")
    setting: Setting | None = Field(default=None, description="What is changed, if a setting is.")
    old: CountOrZero | None = Field(
        default=None, description="The last good setting: what is put back where it made it worse."
    )
    new: CountOrZero | None = Field(default=None, description="What it is set to.")
    value: Decimal | None = Field(default=None, description="The rule's number at the decision.")


class Past(Model):
    """An action that is over, or one that would have been done in mode Enforce."""

    time: Time = Field(description="When it was decided.")
    rule: RuleName = Field(description="Whose action it was.")
    action: Done = Field(description="What was done.")
    outcome: Literal["Observed", "Helped", "Unchanged", "Restored", "Failed", "Done"] = Field(
        description="Observed: only told. Helped: the number is well again. Unchanged: no better, "
        "no worse. Restored: it was worse by a tenth, and taken back. Failed: it was not "
        "done, or made things worse and cannot be taken back. Done: there is no result to judge."
    )
    pod: Word | None = Field(default=None, description="Pod that it was about.")
    setting: Setting | None = Field(default=None, description="What was changed, if a setting was.")
    old: CountOrZero | None = Field(default=None, description="Setting before.")
    new: CountOrZero | None = Field(default=None, description="Setting after.")
    value: Decimal | None = Field(default=None, description="The rule's number at the decision.")


class RuleState(Model):
    """How one rule stands."""

    name: RuleName = Field(description="The rule.")
    state: Literal[
        "Healthy", "Pending", "Broken", "Acting", "Inconclusive", "Invalid", "Held", "Open"
    ] = Field(
        description="Healthy: within its bound. Pending: broken, not yet for long enough. Broken: "
        "confirmed, and reason says what keeps it from acting. Acting: its action is under way. "
        "Inconclusive: no number, or too few requests. Invalid: it cannot be read. Held: paused, "
        "or within its cooldown. Open: its action made things worse, so it acts no more until "
        "openUntil."
    )
    reason: Word = Field(description="Which guard decided, in one word.")
    message: Text = Field(description="The same for people.")
    mode: AutomationMode = Field(description="Whether it may act.")
    since: Time = Field(description="Since when it stands so.")
    open_until: Time | None = Field(default=None, description="Until when its circuit is open.")
    broken_since: Time | None = Field(
        default=None,
        description="When it was confirmed; gone once the number has stayed below four fifths of "
        "its bound for a while.",
    )
    acted_at: Time | None = Field(default=None, description="When it last acted.")
    told: Annotated[tuple[Word, ...], Field(max_length=8)] | None = Field(
        default=None,
        description="What was told by Event since brokenSince, so that it is told once.",
    )


Step = Literal["OnePod", "Quarter", "All"]


class RolloutStatus(Model):
    """How far a rollout is."""

    revision: Word = Field(description="Revision that is being rolled out.")
    replaces: Word = Field(description="Stable revision before it: where a rollback goes.")
    step: Step = Field(description="How much of the fleet runs it at this step.")
    since: Time = Field(description="Since when it is at this step, or done.")
    began: Time = Field(description="When the rollout began.")
    good_samples: CountOrZero | None = Field(
        default=None, description="Good samples of this step so far."
    )
    bad_samples: CountOrZero | None = Field(
        default=None, description="Bad samples since the last good one."
    )
    sampled: Time | None = Field(default=None, description="When the last sample was taken.")
    served: bool | None = Field(
        default=None, description="Whether a pod of this revision was ever ready."
    )
    in_place: bool | None = Field(
        default=None, description="Whether old pods go first, since no node has room for more."
    )
    judged: bool | None = Field(
        default=None,
        description="Whether samples have brought it to step All: then it is watched there too.",
    )
    rebalancing: bool | None = Field(
        default=None,
        description="Whether connections end sooner, for clients to find the new pods: they have "
        "had too few requests to be judged by.",
    )
    state: Literal["Starting", "Judging", "Held", "Paused", "Done", "RolledBack"] = Field(
        description="Starting: its pods are not all ready. Judging: they are, and are compared. "
        "Held: by the annotation, or by an alert. Paused: it needs somebody. Done: all pods run "
        "it. RolledBack: it failed, and the stable revision runs."
    )
    message: Text = Field(description="The same for people.")


class Status(Model):
    """What is there."""

    observed_generation: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        default=None, description="Generation of the spec that this status is about."
    )
    replicas: CountOrZero | None = Field(
        default=None, description="Pods that exist and are not leaving."
    )
    ready_replicas: CountOrZero | None = Field(default=None, description="Pods that take requests.")
    selector: Word | None = Field(
        default=None, description="Label selector of the pods, for autoscalers."
    )
    revision: Word | None = Field(default=None, description="Revision that is wanted.")
    stable_revision: Word | None = Field(
        default=None, description="Last revision that all replicas ran and were ready with."
    )
    images: ImagesInUse | None = Field(default=None, description="Images of the wanted revision.")
    effective: Effective | None = Field(default=None, description="Limits in force.")
    scaling: Scaling | None = Field(
        default=None, description="The autoscaler; only with spec.autoscaling."
    )
    automatic: Automatic | None = Field(
        default=None, description="Settings that alert actions have changed."
    )
    intents: Annotated[tuple[Intent, ...], Field(max_length=4)] | None = Field(
        default=None, description="Actions that are under way."
    )
    history: Annotated[tuple[Past, ...], Field(max_length=20)] | None = Field(
        default=None, description="The last actions, newest last."
    )
    rules: Annotated[tuple[RuleState, ...], Field(max_length=16)] | None = Field(
        default=None,
        description="How the rules of spec.alertActions stand.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    rollout: RolloutStatus | None = Field(
        default=None, description="The rollout that is under way, or was last."
    )
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16)] | None = Field(
        default=None,
        description="Ready, Available, Progressing, ModelReady, SettingsApplied; MetricsAvailable, "
        "ScalingActive and RemediationActive where the spec asks for what they are about; "
        "Bypassed while the annotation asks for it.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )
