"""What the status of each service says, as metrics: for pictures, and for alerts of people's own.

The shell shows a status here when it has written it, and forgets a service that is gone.  A series
never outlives what it is about: a label value that no longer holds (a reason, a state, a revision)
is gone with the next scrape.  Lines are made when a status is shown, not when they are scraped: a
thousand services have 16,000 of them, and a scrape holds up everything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

from batchfleet_operator.api.alerts import AlertAction
from batchfleet_operator.api.status import Past, Status
from batchfleet_operator.remediation.presets import may_do
from batchfleet_operator.store import Key

PREFIX: Final = "batchfleet_operator"
OUTCOMES: Final[tuple[str, ...]] = get_args(Past.model_fields["outcome"].annotation)
DRAIN_OUTCOMES: Final = ("drained", "handed_back", "aborted")
_NUMBER: Final = {"True": 1.0, "False": 0.0}  # an Unknown condition has no number

Sample = tuple[tuple[str, ...], float]
"""Values of the labels beside namespace and service, and the number."""


class Definition(NamedTuple):
    """One metric of every service."""

    name: str
    labels: tuple[str, ...]  # beside namespace and service
    help: str
    kind: Literal["gauge", "counter"] = "gauge"


DEFINITIONS: Final = (
    Definition(
        f"{PREFIX}_condition",
        ("type", "reason"),
        "1 while the condition is True, 0 while it is False; none while it is unknown.",
    ),
    Definition(f"{PREFIX}_replicas", (), "Pods that exist and are not leaving."),
    Definition(f"{PREFIX}_ready_replicas", (), "Pods that take requests."),
    Definition(f"{PREFIX}_desired_replicas", (), "Pods that the autoscaler wants."),
    Definition(
        f"{PREFIX}_scaling_demand_replicas",
        ("bound",),
        "Pods that each demand alone would ask for; the highest one decides.",
    ),
    Definition(
        f"{PREFIX}_scaling_lead_seconds", (), "How far ahead the fleet is sized: a pod's start."
    ),
    Definition(
        f"{PREFIX}_effective_batch_size",
        ("source",),
        "Most requests in flight per pod, and where that comes from.",
    ),
    Definition(
        f"{PREFIX}_rule_state",
        ("rule", "state", "mode"),
        "1 for the state that a rule of alertActions is in.",
    ),
    Definition(
        f"{PREFIX}_action_under_way",
        ("rule", "action", "phase"),
        "1 for each action that is being done, verified or taken back.",
    ),
    Definition(
        f"{PREFIX}_actions_total",
        ("rule", "action", "outcome"),
        "Actions that are over; Observed: those that were only told of.",
        "counter",
    ),
    Definition(
        f"{PREFIX}_rollout",
        ("revision", "step", "state"),
        "1 for the step that the rollout is at, or the last one was, and what it waits for.",
    ),
)
DRAINED: Final = Definition(
    f"{PREFIX}_drained_requests_total",
    ("outcome",),
    "Requests that the drain of a pod which has left met, by what became of them.",
    "counter",
)
"""Not of the status: the sidecars' last word, which a scrape of the pods may come too late for."""


@dataclass(frozen=True)
class _Shown:
    """One service, as it was shown last."""

    history: Sequence[Past]
    actions: Counter[tuple[str, str, str]]
    lines: Mapping[str, str]  # by metric


class ServiceMetrics:
    """The services of one process."""

    def __init__(self) -> None:
        self._shown: dict[Key, _Shown] = {}
        self._drained: dict[Key, Counter[str]] = {}

    def show(
        self,
        key: Key,
        raw: Mapping[str, Any],
        demand: Mapping[str, float] | None = None,
        rules: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Take up a service's status, as it is stored.

        ``demand``: pods by bound, as the last decision of the autoscaler saw them.
        ``rules``: ``alertActions`` of its spec.
        """
        status = Status.parse(raw)
        actions = _actions(status, self._shown.get(key), map(AlertAction.parse, rules))
        lines = {
            name: "".join(_line(f"{PREFIX}_{name}", key, *sample) for sample in samples)
            for name, samples in _samples(status, demand or {}, actions).items()
        }
        self._shown[key] = _Shown(status.history or (), actions, lines)
        self._drained.setdefault(key, Counter(dict.fromkeys(DRAIN_OUTCOMES, 0)))

    def count_drained(self, key: Key, met: Mapping[str, int]) -> None:
        """A pod of a service has left: requests that its drain met, by outcome."""
        self._drained.setdefault(key, Counter()).update(met)

    def forget(self, key: Key) -> None:
        """The service is gone, and so are its series."""
        self._shown.pop(key, None)
        self._drained.pop(key, None)

    def as_text(self) -> bytes:
        """The text format of Prometheus.

        Another thread's, while looks go on: hence copies, each of which is made in one step.
        """
        shown, drained = list(self._shown.values()), list(self._drained.items())
        parts = []
        for each in DEFINITIONS:
            parts.append(_heading(each))
            short = each.name.removeprefix(f"{PREFIX}_")
            parts += [service.lines[short] for service in shown]
        parts.append(_heading(DRAINED))
        for key, met in drained:
            parts += [_line(DRAINED.name, key, (outcome,), n) for outcome, n in list(met.items())]
        return "".join(parts).encode()


def _actions(
    status: Status, before: _Shown | None, rules: Iterable[AlertAction]
) -> Counter[tuple[str, str, str]]:
    """How often what came of which action.

    Each count begins at 0, else no rate would see the first one.  What is done is an intent before;
    what is only told has no such step, so it is there for every rule from the rule's beginning.
    What is in the history when this process begins was counted by another.
    """
    history = status.history or ()
    told = [(past.rule, past.action) for past in history]
    told += [(intent.rule, intent.action) for intent in status.intents or ()]
    counts: Counter[tuple[str, str, str]] = Counter()
    counts.update({(rule.name, action, "Observed"): 0 for rule in rules for action in may_do(rule)})
    counts.update({(*each, outcome): 0 for each in told for outcome in OUTCOMES})
    if before is not None:
        counts.update(before.actions)
        known = set(before.history)
        counts.update(
            (each.rule, each.action, each.outcome) for each in history if each not in known
        )
    return counts


def _heading(of: Definition) -> str:
    return f"# HELP {of.name} {of.help}\n# TYPE {of.name} {of.kind}\n"


def _line(name: str, key: Key, labels: tuple[str, ...], number: float) -> str:
    names = ("namespace", "service", *_LABELS[name])
    told = ",".join(
        f'{label}="{_escaped(value)}"' for label, value in zip(names, (*key, *labels), strict=True)
    )
    return f"{name}{{{told}}} {float(number)}\n"


_LABELS: Final = {each.name: each.labels for each in (*DEFINITIONS, DRAINED)}


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _samples(
    status: Status, demand: Mapping[str, float], actions: Mapping[tuple[str, str, str], int]
) -> dict[str, list[Sample]]:
    """By metric, without the prefix."""
    scaling, effective, rollout = status.scaling, status.effective, status.rollout
    return {
        "condition": [
            ((each.type, each.reason), _NUMBER[each.status])
            for each in status.conditions or ()
            if each.status in _NUMBER
        ],
        "replicas": _one(status.replicas),
        "ready_replicas": _one(status.ready_replicas),
        "desired_replicas": _one(scaling.desired_replicas if scaling else None),
        "scaling_demand_replicas": [((bound,), pods) for bound, pods in demand.items()],
        "scaling_lead_seconds": _one(scaling.lead_seconds if scaling else None),
        "effective_batch_size": _one(effective.max_batch_size, effective.source)
        if effective
        else [],
        "rule_state": [((each.name, each.state, each.mode), 1.0) for each in status.rules or ()],
        "action_under_way": [
            ((each.rule, each.action, each.phase), 1.0) for each in status.intents or ()
        ],
        "actions_total": [(labels, float(n)) for labels, n in actions.items()],
        "rollout": [((rollout.revision, rollout.step, rollout.state), 1.0)] if rollout else [],
    }


def _one(number: float | None, *labels: str) -> list[Sample]:
    return [] if number is None else [(labels, number)]
