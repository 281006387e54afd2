"""Profiles: named settings of a batch, which fill what a spec leaves unset.

Comes before ``live``, which writes the result.  The table here is the one that docs/api.md shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from batchfleet_operator.api import Spec
from batchfleet_operator.api.batching import Mode, ProfileName

_T = TypeVar("_T")


@dataclass(frozen=True)
class Profile:
    """What holds where the spec says nothing."""

    mode: Mode
    target_inter_token_milliseconds: int  # only mode Adaptive aims at it
    max_queue_length: int
    queue_timeout_seconds: int | None  # None: requests.timeoutSeconds
    max_wait_milliseconds: int = 0  # waiting in front of a continuous batch only adds the wait


NONE = Profile("Fixed", 50, 1000, None)

PROFILES: Mapping[ProfileName, Profile] = {
    # Answers that people read as they come: 40 tokens a second, and rather a refusal than a wait.
    "LowLatency": Profile("Adaptive", 25, 200, 5),
    # 20 tokens a second is faster than people read; a burst may wait.
    "Balanced": Profile("Adaptive", 50, 1000, None),
    # Nobody watches: the engine's own batch, always full.
    "HighThroughput": Profile("Fixed", 50, 10_000, None),
}


def of(spec: Spec) -> Profile:
    """What holds for ``spec``: its own words, then its profile's, then the defaults."""
    batching = spec.batching
    named = NONE if batching.profile is None else PROFILES[batching.profile]
    return Profile(
        mode=batching.mode or named.mode,
        target_inter_token_milliseconds=_first(
            batching.target_inter_token_milliseconds, named.target_inter_token_milliseconds
        ),
        max_queue_length=_first(batching.max_queue_length, named.max_queue_length),
        queue_timeout_seconds=_first(
            spec.requests.queue_timeout_seconds, named.queue_timeout_seconds
        ),
        max_wait_milliseconds=_first(batching.max_wait_milliseconds, named.max_wait_milliseconds),
    )


def _first(said: _T | None, otherwise: _T) -> _T:
    """0 is said, too."""
    return otherwise if said is None else said
