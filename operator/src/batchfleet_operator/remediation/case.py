"""What ``alerts.judge`` is given and what it gives back: one service's case, and the judgement.

``control`` makes a :class:`Case` of the status that is stored, of the cluster, and of what
Prometheus said; it carries a :class:`Judgement` into the status and the plan.  Guards and actions
see nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from batchfleet_operator.api.alerts import Remediation
from batchfleet_operator.api.status import Automatic, Intent, Past, RuleState
from batchfleet_operator.conditions import Said
from batchfleet_operator.decision import Event, Ref
from batchfleet_operator.metering.signals import Reading, Signals


@dataclass(frozen=True, slots=True)
class PodFact:
    """One pod that is not leaving."""

    name: str
    uid: str
    ready: bool
    created: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that guards may look at: one service at one moment."""

    now: datetime
    watched_since: datetime | None = None  # when the operator began to look; None: it does not
    readings: Mapping[str, Sequence[Reading]] = field(default_factory=dict)  # oldest first
    signals: Signals | None = None  # the latest
    stale_after_seconds: float = 60.0  # an older reading is none; a longer gap is a gap
    remediation: Remediation = field(default_factory=Remediation)
    allowed: bool = True  # the operator's configuration lets services bring queries
    paused: bool = False
    why_paused: str = ""
    remembers: bool = True  # False: the stored status has lost our intents (an older CRD)

    # Memory, as stored.
    intents: Sequence[Intent] = ()
    history: Sequence[Past] = ()
    rules: Sequence[RuleState] = ()
    automatic: Automatic | None = None

    # The fleet and its settings.
    batch_size: int | None = None  # live limit per pod, automatic's included; None: no limit
    spec_batch_size: int | None = None  # spec.batching.maxBatchSize
    edited: bool = False  # the limit of the spec was another when the status was written
    own_batch_size: int | None = None  # live limit as it would be without automatic
    max_num_seqs: int | None = None  # the engine's bound; None: its own default
    queue_length: int = 1000  # longest queue per pod by the spec, automatic's not included
    pods: Sequence[PodFact] = ()
    asked: int = 0  # replicas that are wanted, starting ones included
    max_replicas: int | None = None  # None: no autoscaling
    rolling: bool = False
    rollout_began: datetime | None = None
    rollout_moved: datetime | None = None  # it stands still, or is done, since; None: it moves
    can_roll_back: bool = False
    lead_seconds: float = 180.0  # that a pod needs to start

    @property
    def ready(self) -> int:
        return sum(pod.ready for pod in self.pods)

    @property
    def own_limit(self) -> int | None:
        """The live limit that the spec and the engine give; ``None``: there is none."""
        return self.own_batch_size or self.spec_batch_size


@dataclass(frozen=True, slots=True)
class Held:
    """A guard's word: why a rule that is broken does not act now."""

    state: Literal["Broken", "Held", "Open", "Inconclusive"]
    reason: str
    message: str
    tell: bool = False  # by Event, once until the rule is well again: somebody should know


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is to be stored, and what of it is to be done now.

    Nothing is done in the look that decides it: only what the *stored* intents ask for is here.
    """

    rules: tuple[RuleState, ...] = ()
    intents: tuple[Intent, ...] = ()
    history: tuple[Past, ...] = ()
    automatic: Automatic | None = None
    floor: tuple[int, datetime] | None = None  # least replicas, and until when
    restart: Ref | None = None  # the pod to delete, by UID
    roll_back: str | None = None  # why
    pause_rollout: str | None = None  # why
    condition: Said  # RemediationActive
    events: Sequence[Event] = ()
    again_in_seconds: float | None = None  # 0: at once, an intent waits to be done
