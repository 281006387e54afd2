"""``spec.alertActions`` and ``spec.remediation``: what to do when a number is out of bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from batchfleet_operator.api.schema import Count, CountOrZero, Decimal, Model, Rule, Word, rules

PresetName = Literal[
    "RequestLatency",
    "TimeToFirstToken",
    "InterTokenLatency",
    "ErrorRate",
    "Throughput",
    "Load",
    "ServiceDown",
    "EngineStalled",
]
ActionType = Literal["ScaleBatchSize", "ScaleOut", "RestartPod", "Rollback", "Shed", "Notify"]
AutomationMode = Literal["Observe", "Enforce"]
RuleName = Annotated[
    str, Field(min_length=1, max_length=40, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
]
Query = Annotated[str, Field(min_length=1, max_length=2048)]
RuleSeconds = Annotated[int, Field(ge=1, le=86_400)]


class Action(Model):
    """What is done."""

    model_config = rules(
        Rule(
            "!has(self.factorPercent) || self.type in ['ScaleBatchSize', 'Shed']",
            "action.factorPercent is for ScaleBatchSize and Shed only: leave it out.",
        ),
        Rule(
            "!has(self.factorPercent) || self.factorPercent != 100",
            "action.factorPercent 100 would change nothing: below 100 shrinks, above grows.",
        ),
        Rule(
            "self.type != 'ScaleBatchSize' || (has(self.minBatchSize) && has(self.maxBatchSize))",
            "action ScaleBatchSize needs its bounds: set minBatchSize and maxBatchSize.",
        ),
        Rule(
            "!has(self.minBatchSize) || !has(self.maxBatchSize) || "
            "self.minBatchSize < self.maxBatchSize",
            "action.minBatchSize must be below action.maxBatchSize, or no step is possible.",
        ),
        Rule(
            "self.type == 'ScaleBatchSize' || (!has(self.minBatchSize) && !has(self.maxBatchSize))",
            "action.minBatchSize and maxBatchSize bound ScaleBatchSize only: leave them out.",
        ),
        Rule(
            "!has(self.factorPercent) || self.type != 'Shed' || self.factorPercent < 100",
            "action Shed makes the queue shorter: set factorPercent below 100.",
        ),
        Rule(
            "!has(self.factorPercent) || !has(self.minBatchSize) || !has(self.maxBatchSize) || "
            "(self.factorPercent < 100 ? "
            "self.maxBatchSize * self.factorPercent >= self.minBatchSize * 100 : "
            "self.minBatchSize * self.factorPercent <= self.maxBatchSize * 100)",
            "one step of action.factorPercent leaves minBatchSize and maxBatchSize from wherever "
            "it begins: widen them, or set factorPercent nearer to 100.",
        ),
    )

    type: ActionType = Field(
        description="ScaleBatchSize: another live limit, step by step. ScaleOut: more pods. "
        "RestartPod: the one pod that is ill. Rollback: to the stable revision, where a rollout "
        "is young. Shed: a shorter queue. Notify: an Event, nothing else."
    )
    factor_percent: Annotated[int, Field(ge=10, le=400)] | None = Field(
        default=None,
        description="Size of one step, in percent of the limit or the queue as it is; unset: 75, "
        "or 125 with preset Throughput; 50 for Shed.",
    )
    min_batch_size: Count | None = Field(
        default=None,
        description="ScaleBatchSize never goes below. A preset's own action: a quarter of the "
        "spec's limit.",
    )
    max_batch_size: Count | None = Field(
        default=None,
        description="ScaleBatchSize never goes above, nor above what the engine runs. A preset's "
        "own action: the spec's limit.",
    )


class AlertAction(Model):
    """A rule: a number, its bound, and what is done while it is broken."""

    model_config = rules(
        Rule(
            "[has(self.preset), has(self.query), has(self.alertName)].filter(x, x).size() == 1",
            "a rule of alertActions has one source: set exactly one of preset, query and "
            "alertName.",
        ),
        Rule(
            "!has(self.query) || (has(self.samplesQuery) && (has(self.above) != has(self.below)))",
            "a rule with a query needs samplesQuery and exactly one of above and below: a query "
            "that gives nothing could not be told from one that is fine.",
        ),
        Rule(
            "!has(self.alertName) || (!has(self.above) && !has(self.below) && "
            "!has(self.samplesQuery))",
            "a rule with alertName has no number: leave above, below and samplesQuery out.",
        ),
        Rule(
            "!has(self.alertName) || (has(self.action) && self.action.type in "
            "['Notify', 'Rollback'])",
            "a rule with alertName has no number by which an action could be judged: it may only "
            "Notify, or Rollback a rollout.",
        ),
        Rule(
            "!has(self.query) || has(self.action)",
            "a rule with a query needs an action.",
        ),
        Rule(
            "!has(self.preset) || !has(self.samplesQuery)",
            "a preset brings its own samples: leave samplesQuery out.",
        ),
        Rule(
            "!has(self.preset) || (self.preset in ['Throughput', 'ServiceDown'] ? "
            "!has(self.above) : !has(self.below))",
            "the presets Throughput and ServiceDown are broken below their bound, the others above "
            "it: set the other one of above and below.",
        ),
        Rule(
            "!has(self.minSamples) || self.minSamples == 0 || (!has(self.alertName) && "
            "(!has(self.preset) || "
            "!(self.preset in ['Load', 'ServiceDown', 'EngineStalled'])))",
            "minSamples counts requests, which alertName and the presets Load, ServiceDown and "
            "EngineStalled are not about: leave it out.",
        ),
        Rule(
            "!has(self.action) || self.action.type != 'RestartPod' || (has(self.preset) && "
            "self.preset in ['ErrorRate', 'EngineStalled'])",
            "action RestartPod has to know which pod is ill, which only the presets ErrorRate and "
            "EngineStalled tell: use one of them.",
        ),
        Rule(
            "!has(self.verifySeconds) || (has(self.action) ? "
            "!(self.action.type in ['Notify', 'Rollback']) : "
            "!(has(self.preset) && self.preset == 'ServiceDown'))",
            "Notify and Rollback have no result to verify: leave verifySeconds out.",
        ),
        Rule(
            "!has(self.cooldownSeconds) || !has(self.action) || self.action.type != 'Notify'",
            "Notify tells once for as long as a rule is broken: leave cooldownSeconds out.",
        ),
        Rule(
            "!has(self.alertName) || !has(self.windowSeconds)",
            "the window of an alert stands in its own expression: leave windowSeconds out.",
        ),
    )

    name: RuleName = Field(description="Name in status, Events and metrics.")
    preset: PresetName | None = Field(
        default=None,
        description="A ready-made number, bound and action: docs/api.md has the table.",
    )
    query: Query | None = Field(
        default=None,
        description="PromQL that gives one number; $namespace, $service and $window (such as "
        "120s) are replaced. The operator's configuration must allow queries.",
    )
    samples_query: Query | None = Field(
        default=None,
        description="PromQL that gives how many requests are behind the number.",
    )
    alert_name: Word | None = Field(
        default=None,
        description="Name of an alert of Prometheus' own; the one that fires for this namespace "
        "and service, or for neither, counts.",
    )
    above: Decimal | None = Field(
        default=None, description="Broken above this; unset: the preset's."
    )
    below: Decimal | None = Field(
        default=None, description="Broken below this; unset: the preset's."
    )
    action: Action | None = Field(default=None, description="Unset: the preset's.")
    mode: AutomationMode | None = Field(
        default=None,
        description="Observe: only say what would be done. Unset: remediation.mode.",
    )
    window_seconds: Annotated[int, Field(ge=5, le=3600)] | None = Field(
        default=None, description="Time that one number is about; unset: 120."
    )
    confirm_seconds: Annotated[int, Field(ge=0, le=3600)] | None = Field(
        default=None,
        description="Broken in every look for this long, before anything is done; unset: 180.",
    )
    min_samples: CountOrZero | None = Field(
        default=None, description="Requests in the window, or the number means nothing; unset: 100."
    )
    verify_seconds: RuleSeconds | None = Field(
        default=None,
        description="When an action's result is judged: worse by a tenth is taken back. Unset: "
        "600, or twice the time that a pod needs to start, whichever is longer.",
    )
    cooldown_seconds: RuleSeconds | None = Field(
        default=None,
        description="Between two actions of this rule; unset: 600, or two windows and the time "
        "that a pod needs to start, whichever is longer.",
    )


class Remediation(Model):
    """What holds for all rules of alertActions."""

    mode: AutomationMode = Field(
        default="Observe",
        description="For rules that do not say: Observe only tells what would be done.",
    )
    max_actions_per_hour: Annotated[int, Field(ge=1, le=16)] | None = Field(
        default=None,
        description="Of all rules together; then nothing more is done until the hour has passed, "
        "and a person is told. Unset: 3.",
    )
